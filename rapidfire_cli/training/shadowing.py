"""Keep modules of the user's from shadowing the standard library, or a package that rapidfire is built on.

User code is looked up from the working directory before the installed packages, as for a script. So a file
there that is named `queue.py` or `datasets.py` would be imported in place of the real one by every library
that asks for it. With `forbid`, such a name always means the real one, for every importer.
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
    """Finds what is installed wherever the user has a module of the same name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The installed module's, where the user's would shadow it; None leaves the search to others."""
        if path is None and _users(fullname) and (found := _installed(fullname)) and _is_ours(fullname):
            return found
        return None


def forbid() -> None:
    """From now on nothing of the user's shadows what it must not."""
    if not any(isinstance(finder, Installed) for finder in sys.meta_path):
        sys.meta_path.insert(0, Installed())


def merged(path: Sequence[str], others: Sequence[str]) -> list[str]:
    """The path with other places as well: the user's come first, as in a script, and installed ones last."""
    more = [place for place in others if place not in path]
    theirs = [place for place in more if is_users(f"{place}/")]
    return [*theirs, *path, *(place for place in more if place not in theirs)]


def shadowed(name: str) -> Path | None:
    """The user's module of that name, if it is not what the name means."""
    file = _users(name)
    real = name in sys.builtin_module_names or _installed(name)
    return file if file and real and _is_ours(name) else None


def _users(name: str) -> Path | None:
    """The first module of that name outside of the installed packages."""
    for place in _places(theirs=True):
        for file in (place / name / "__init__.py", place / f"{name}.py"):
            if file.is_file():
                return file
    return None


def _installed(name: str) -> ModuleSpec | None:
    return PathFinder.find_spec(name, [str(place) for place in _places(theirs=False)])


def _places(theirs: bool) -> Iterator[Path]:
    """Where modules are looked up, of the user's or installed; archives are the standard library's."""
    return (Path(place) for place in sys.path if is_users(f"{place or '.'}/") == theirs)


def _is_ours(name: str) -> bool:
    """Whether the name is one of the standard library's, or of a package that rapidfire needs.

    To look through all that is installed takes a while: ask only where the user has such a module.
    """
    return name in sys.stdlib_module_names or bool(_needed() & {*_packages().get(name, ())})


@cache
def _packages() -> dict[str, list[str]]:
    return {name: [*map(_normal, of)] for name, of in metadata.packages_distributions().items()}


@cache
def _needed() -> frozenset[str]:
    """The distributions that rapidfire needs, and those that these need."""
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
