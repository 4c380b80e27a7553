"""Check a file's arguments against the real signatures of torch's classes, before anything is created.

Names are compared with the signature, and values with its annotations. Other restrictions are found by
calling the class: `culprits` finds the arguments that cause an error.
"""

import inspect
import json
import pkgutil
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rapidfire_cli.engine.messages import Finding
from rapidfire_cli.problems import did_you_mean, shortened
from rapidfire_cli.training.failure import one_line

NEEDED = "E403"  # whatever the family: of torch 2.13's classes only schedulers have such arguments
REJECTED = "E406"

HARMLESS: Sequence[Any] = (1, 0.5, [1], lambda *_: 1.0)
"""Values to try for a required argument, to find out whether the file's value causes an error."""

KINDS: Mapping[str, str] = {
    "bool": "true or false",
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "Literal": "a string",
    "Callable": "the dotted path of a callable",
    "tuple": "a list",
    "list": "a list",
    "Sequence": "a list",
    "Iterable": "a list",
}
"""The notation in files for each type that torch's annotations name."""

TEXTS = {KINDS["str"], KINDS["Callable"]}

Args: TypeAlias = Mapping[str, Any]
Attempt: TypeAlias = Callable[[Args], None]
"""Calls a class with these arguments, and raises what it raises."""


@dataclass(frozen=True, slots=True)
class Family:
    """Classes of one kind that files call by name, and the error codes for wrong calls."""

    kind: str  # as messages name it
    base: type
    classes: Mapping[str, type]  # by lower-case name
    given: frozenset[str]  # parameters that training provides itself, beside the first of a user's class
    unknown: str
    unexpected: str

    def find(self, name: str) -> type | None:
        """Return the class of that name, ignoring case, or at that dotted path; None if there is none."""
        if known := self.classes.get(name.lower()):
            return known
        try:
            found = locate(name) if is_dotted(name) else None
        except Exception:
            return None
        return found if isinstance(found, type) and issubclass(found, self.base) else None

    def is_own(self, cls: type) -> bool:
        """Whether the class is the user's own."""
        return cls not in self.classes.values()

    def parameters(self, cls: type) -> dict[str, inspect.Parameter]:
        """Return the parameters of `cls` that an experiment file may set."""
        declared = list(inspect.signature(cls).parameters.items())[self.is_own(cls) :]
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return {
            name: parameter
            for name, parameter in declared
            if name not in self.given and parameter.kind not in variable
        }

    def takes_all(self, cls: type) -> bool:
        """Whether `cls` accepts arguments that its signature does not name."""
        declared = inspect.signature(cls).parameters.values()
        return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in declared)

    def needed(self, cls: type) -> list[str]:
        """Return the parameters of `cls` that an experiment file must set."""
        accepted = self.parameters(cls)
        return [key for key, parameter in accepted.items() if parameter.default is parameter.empty]


def findings(family: Family, name: str, args: Mapping[str, Any], at: tuple[str, ...]) -> list[Finding]:
    """Return the mistakes in a call of `name` with `args`; `at` is the path of the mapping with both."""
    cls = family.find(name)
    if cls is None:
        return [_unknown(family, name, (*at, "name"))]
    return [
        *misfits(family, cls, args, (*at, "args")),
        *(_missing(family, cls, key, (*at, "args")) for key in family.needed(cls) if key not in args),
    ]


def misfits(family: Family, cls: type, args: Args, at: tuple[str, ...]) -> Iterator[Finding]:
    """Yield findings for arguments with a name or type that `cls` rejects; `at` is their mapping's path."""
    accepted = family.parameters(cls)
    for key in args:
        if key not in accepted and not family.takes_all(cls):
            yield _unexpected(family, cls, key, (*at, key))
    for key, value in args.items():
        if key in accepted and (found := _mistyped(cls, accepted[key], value, (*at, key))):
            yield found


def culprits(attempt: Attempt, args: Args, needed: Collection[str]) -> Iterator[tuple[str | None, str]]:
    """Yield the arguments that make the attempt fail, each with the error's text; None if no single one does.

    An argument is the cause if the attempt succeeds without it, or fails with another error. A required
    argument is the cause if the attempt succeeds with a harmless value in its place.
    """
    left = dict(args)
    while (said := _said(attempt, left)) is not None:
        found = _culprit(attempt, left, needed, said)
        yield (found and found[0]), said
        if found is None:
            return
        left = found[1]


def rejected(called: str, key: str | None, said: str, args: Args, at: tuple[str, ...]) -> Finding:
    """Return the finding for an argument that a class rejects; `at` is the path of `args`."""
    if key is None:
        return Finding(0, at, REJECTED, f"{called} cannot be created: {said}")
    return Finding(*(0, (*at, key), REJECTED, f"{called} rejects `{key}`: {said}"), found=_plain(args[key]))


def mistaken(message: str, value: Any, expected: str, at: tuple[str, ...]) -> Finding:
    """Return the finding for a wrong value that its class would accept, or reject with an unclear message."""
    return Finding(0, at, REJECTED, message, found=_plain(value), expected=expected)


def _culprit(
    attempt: Attempt, args: Args, needed: Collection[str], said: str
) -> tuple[str, dict[str, Any]] | None:
    """Return the argument that causes the error, and the arguments without it; None if no single one does."""
    changed = None
    for key in args:
        others = {name: value for name, value in args.items() if name != key}
        for other in [{**args, key: value} for value in HARMLESS] if key in needed else [others]:
            now = _said(attempt, other)
            if now is None:
                return key, other
            if now != said and key not in needed:
                changed = changed or (key, other)
    return changed


def _said(attempt: Attempt, args: Args) -> str | None:
    """Return the first line of the attempt's error; None if it succeeds."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            attempt(args)
    except Exception as error:
        return words(error)
    return None


def words(error: Exception) -> str:
    """Return the first line of the error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def locate(dotted: str) -> Any:
    """Return the object at `package.module:name` or `package.module.name`. Raises what the import raises."""
    return pkgutil.resolve_name(dotted)


def is_dotted(name: str) -> bool:
    """Whether the name is the path of a class, such as `specs.optimizers:Lion`."""
    return "." in name or ":" in name


def _unknown(family: Family, name: str, path: tuple[str, ...]) -> Finding:
    if is_dotted(name):
        return _unlocated(family, name, path)
    names = {lower: cls.__name__ for lower, cls in family.classes.items()}
    hint = did_you_mean(name, names.values()) or did_you_mean(name.lower(), names)
    message, expected = f"unknown {family.kind} `{name}`", f"one of {', '.join(sorted(names.values()))}"
    return Finding(0, path, family.unknown, message, name, expected, hint)


def _unlocated(family: Family, name: str, path: tuple[str, ...]) -> Finding:
    """Return the finding that there is no class at the dotted path, with the reason."""
    expected = f"the dotted path of a subclass of {family.base.__module__}.{family.base.__qualname__}"
    try:
        found = locate(name)
    except Exception as error:
        return Finding(
            *(0, path, family.unknown, f"`{name}` cannot be imported: {one_line(error)}"), expected=expected
        )
    return Finding(
        0, path, family.unknown, f"`{name}` is not the class of a {family.kind}", f"{found!r}", expected
    )


def _unexpected(family: Family, cls: type, key: str, path: tuple[str, ...]) -> Finding:
    accepted = family.parameters(cls)
    takers = sorted(one.__name__ for one in family.classes.values() if key in family.parameters(one))
    elsewhere = f"`{key}` is an argument of {', '.join(takers)}" if takers else ""
    return Finding(
        *(0, path, family.unexpected, f"{cls.__name__} has no argument `{key}`"),
        found=key,
        expected=f"one of {', '.join(accepted)}",
        hint=did_you_mean(key, accepted) or elsewhere,
        of_key=True,
    )


def _mistyped(cls: type, parameter: inspect.Parameter, value: Any, path: tuple[str, ...]) -> Finding | None:
    """Return the finding for a value whose type contradicts the parameter's annotation, if it does."""
    annotation = parameter.annotation
    said = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    items = re.search(r"(?:list|Sequence|Iterable)\[(\w+)\]", said)
    names = set(re.findall(r"\w+", _outermost(said))) - {"torch", "Tensor"}
    if names and names - {"None"} <= KINDS.keys() and not _fits(value, names):
        expected = " or ".join(dict.fromkeys(KINDS[name] for name in sorted(names - {"None"})))
        expected += ", or null" if "None" in names else ""
    elif isinstance(value, list) and (size := _size(said)) and len(value) != size:
        expected = f"a list of {size} items"
    elif isinstance(value, list) and items and items[1] in KINDS and not _all_fit(value, items[1]):
        expected = f"a list, each item {KINDS[items[1]]}"
    else:
        return None
    number = isinstance(value, str) and names & {"int", "float"} and _is_number(value)
    return Finding(
        *(0, path, REJECTED, f"invalid value for `{parameter.name}` of {cls.__name__}"),
        found=f"a string, {_plain(value)}" if isinstance(value, str) else _plain(value),
        expected=expected,
        hint=f"write {value} without quotes" if number else "",
    )


def _outermost(annotation: str) -> str:
    """Return the annotation without the inner types of its lists and callables."""
    while (inner := re.sub(r"\[[^\[\]]*\]", "", annotation)) != annotation:
        annotation = inner
    return annotation


def _size(annotation: str) -> int | None:
    """Return the number of items of an annotated tuple; None for other annotations."""
    items = re.fullmatch(r"tuple\[([^\[\]]*)\]", annotation)
    return items[1].count(",") + 1 if items and "..." not in items[1] else None


def _all_fit(values: Sequence[Any], name: str) -> bool:
    return all(_fits(value, {name}) for value in values)


def _fits(value: Any, names: Collection[str]) -> bool:
    match value:
        case None:
            return "None" in names
        case bool():
            return "bool" in names
        case int():
            return "int" in names or "float" in names
        case float():
            return "float" in names or ("int" in names and value.is_integer())
        case str():
            return any(KINDS.get(name) in TEXTS for name in names)
        case list():
            return any(KINDS.get(name) == "a list" for name in names)
        case _:
            return False


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _plain(value: Any) -> str:
    return shortened(json.dumps(value))


def _missing(family: Family, cls: type, key: str, path: tuple[str, ...]) -> Finding:
    return Finding(
        *(0, path, NEEDED, f"missing required argument `{key}` of {cls.__name__}"),
        expected=f"`{key}` under `args` (accepted: {', '.join(family.parameters(cls))})",
    )
