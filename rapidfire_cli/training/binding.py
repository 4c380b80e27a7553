"""A file's arguments bound to the real signatures of torch's classes, before anything is built."""

import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rapidfire_cli.engine.messages import Finding
from rapidfire_cli.problems import did_you_mean

NEEDED = "E403"  # whatever the family: of torch 2.13's classes only schedulers have such arguments


@dataclass(frozen=True, slots=True)
class Family:
    """Classes of one kind that files call by name, and the codes of what can be wrong with a call."""

    kind: str  # as messages name it
    classes: Mapping[str, type]  # by lower-case name
    given: frozenset[str]  # parameters that training provides itself
    unknown: str
    unexpected: str

    def find(self, name: str) -> type | None:
        """The class of that name in any case."""
        return self.classes.get(name.lower())

    def parameters(self, cls: type) -> dict[str, inspect.Parameter]:
        """What an experiment file may pass to `cls`."""
        declared = inspect.signature(cls).parameters
        return {name: parameter for name, parameter in declared.items() if name not in self.given}


def findings(family: Family, name: str, args: Mapping[str, Any], at: tuple[str, ...]) -> list[Finding]:
    """What is wrong with calling `name` with `args`; `at` is the path of the mapping that holds both."""
    cls = family.find(name)
    if cls is None:
        return [_unknown(family, name, (*at, "name"))]
    accepted = family.parameters(cls)
    required = [key for key, parameter in accepted.items() if parameter.default is parameter.empty]
    return [
        *(_unexpected(family, cls, key, (*at, "args", key)) for key in args if key not in accepted),
        *(_missing(family, cls, key, (*at, "args")) for key in required if key not in args),
    ]


def locate(dotted: str) -> Any:
    """The object at `package.module:name` or `package.module.name`. Raises what importing it raises."""
    return pkgutil.resolve_name(dotted)


def _unknown(family: Family, name: str, path: tuple[str, ...]) -> Finding:
    names = {lower: cls.__name__ for lower, cls in family.classes.items()}
    hint = did_you_mean(name, names.values()) or did_you_mean(name.lower(), names)
    message, expected = f"torch has no {family.kind} `{name}`", f"one of {', '.join(sorted(names.values()))}"
    return Finding(0, path, family.unknown, message, name, expected, hint)


def _unexpected(family: Family, cls: type, key: str, path: tuple[str, ...]) -> Finding:
    accepted = family.parameters(cls)
    takers = sorted(one.__name__ for one in family.classes.values() if key in family.parameters(one))
    elsewhere = f"`{key}` is taken by {', '.join(takers)}" if takers else ""
    return Finding(
        *(0, path, family.unexpected, f"{cls.__name__} takes no `{key}`"),
        found=key,
        expected=f"one of {', '.join(accepted)}",
        hint=did_you_mean(key, accepted) or elsewhere,
        of_key=True,
    )


def _missing(family: Family, cls: type, key: str, path: tuple[str, ...]) -> Finding:
    return Finding(
        *(0, path, NEEDED, f"{cls.__name__} needs `{key}`"),
        expected=f"`{key}` under `args`, beside any of {', '.join(family.parameters(cls))}",
    )
