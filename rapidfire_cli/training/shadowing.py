"""Keep user modules from shadowing the standard library, or a package that rapidfire depends on.

As in a script, modules are searched in the working directory before the installed packages. So every library
would import a user's file `queue.py` or `datasets.py` instead of the real module. After `forbid`, such a name
always means the real module, for every importer.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import metadata
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from rapidfire_cli.training.user_code import is_users

DISTRIBUTION = "rapidfire-cli"


class Installed(MetaPathFinder):
    """A finder that returns the installed module if a user module has the same name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of an installed module that a user module would shadow; None for other modules."""
        if path is None and _users(fullname) and (found := _installed(fullname)) and _is_ours(fullname):
            return found
        return None


def forbid() -> None:
    """Keep user modules from shadowing protected modules, from now on."""
    if not any(isinstance(finder, Installed) for finder in sys.meta_path):
        sys.meta_path.insert(0, Installed())


def merged(path: Sequence[str], others: Sequence[str]) -> list[str]:
    """Merge two search paths: the user's directories first, as in a script, and installed packages last."""
    more = [place for place in others if place not in path]
    theirs = [place for place in more if is_users(f"{place}/")]
    return [*theirs, *path, *(place for place in more if place not in theirs)]


def shadowed(name: str) -> Path | None:
    """Return the user's module of that name if it would shadow a protected module; None otherwise."""
    file = _users(name)
    real = name in sys.builtin_module_names or _installed(name)
    return file if file and real and _is_ours(name) else None


def _users(name: str) -> Path | None:
    """Return the first module of that name outside the installed packages."""
    for place in _places(theirs=True):
        for file in (place / name / "__init__.py", place / f"{name}.py"):
            if file.is_file():
                return file
    return None


def _installed(name: str) -> ModuleSpec | None:
    return PathFinder.find_spec(name, [str(place) for place in _places(theirs=False)])


def _places(theirs: bool) -> Iterator[Path]:
    """Yield the directories of the search path: the user's or the installed ones; archives are installed."""
    return (Path(place) for place in sys.path if is_users(f"{place or '.'}/") == theirs)


def _is_ours(name: str) -> bool:
    """Whether the name belongs to the standard library, or to a package that rapidfire needs.

    This is slow, because it reads all installed packages: call it only if the user has such a module.
    """
    return name in sys.stdlib_module_names or bool(_needed() & {*_packages().get(name, ())})


@cache
def _packages() -> dict[str, list[str]]:
    return {name: [*map(_normal, of)] for name, of in metadata.packages_distributions().items()}


@cache
def _needed() -> frozenset[str]:
    """Return the distributions that rapidfire needs, directly or indirectly."""
    found: set[str] = set()
    left = [DISTRIBUTION]
    while left:
        try:
            required = metadata.requires(left.pop()) or ()
        except metadata.PackageNotFoundError:  # of another platform
            continue
        plain = (each for each in required if "extra ==" not in each)
        names = {_normal(re.split(r"[^\w.-]", each, maxsplit=1)[0]) for each in plain} - found
        found |= names
        left += names
    return frozenset(found)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
