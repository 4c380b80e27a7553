"""What is being typed at the end of a command line: a verb, an option, or a value of some kind.

The verbs and their options come from `verbs.json`, which the tests write from the command line itself: to
import that takes longer than an answer may.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

Verb: TypeAlias = Mapping[str, Any]
"""Its `help`, the `arguments`, each a metavar or a list of choices, and the `options`, each with its `names`,
`help` and `value`, which is null for a flag."""


FILES = frozenset({"FILE", "FILE|CODE", "A", "B", "DIR", "PATH"})
"""Metavars of what is a file or a directory."""


class Word(NamedTuple):
    """What can be typed, and what it means."""

    text: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """The word under the cursor: fixed words that can go there, or the kind of value that does."""

    text: str  # typed so far, of the value alone
    before: str = ""  # typed in the same word before the value: `--set=`
    fixed: tuple[Word, ...] = ()
    kind: str = ""  # of the value: an option's first name, or an argument's metavar
    metavar: str = ""
    given: Mapping[str, str] = field(default_factory=dict)  # options before, by their first name
    arguments: tuple[str, ...] = ()  # before


def verbs() -> Mapping[str, Verb]:
    """All verbs; under the empty name, the program's own options."""
    known: Mapping[str, Verb] = json.loads(Path(__file__).with_name("verbs.json").read_bytes())
    return known


def place(words: Sequence[str]) -> Place:
    """What the last of the words is; they are those after the program's name, without quotes."""
    known = verbs()
    *before, text = words
    name = next((word for word in before if not word.startswith("-")), None)
    if name is None:
        return _option(known[""], text) if text.startswith("-") else Place(text, fixed=_names(known))
    if name not in known:
        return Place(text)
    return _in_verb(known[name], before[before.index(name) + 1 :], text)


def takes_files(place: Place) -> bool:
    """Whether a file's path can be typed there."""
    return (place.metavar in FILES and place.kind != "--unset") or place.kind == "--experiment"


def _in_verb(verb: Verb, before: Sequence[str], text: str) -> Place:
    options = {name: option for option in verb["options"] for name in option["names"]}
    given, arguments = dict[str, str](), list[str]()
    awaiting, plain = None, False
    for word in before:
        if awaiting:
            given[awaiting["names"][0]], awaiting = word, None
        elif plain or not word.startswith("-") or word == "-":
            arguments.append(word)
        elif word == "--":
            plain = True
        else:
            name, is_joined, value = word.partition("=")
            option = options.get(name)
            if option and option["value"] is not None:
                if is_joined:
                    given[option["names"][0]] = value
                else:
                    awaiting = option
    if awaiting:
        return _value(awaiting["names"][0], awaiting["value"], text, "", given, arguments)
    if text.startswith("-") and not plain:
        name, is_joined, value = text.partition("=")
        if is_joined and (option := options.get(name)):
            return _value(option["names"][0], option["value"], value, f"{name}=", given, arguments)
        return _option(verb, text)
    if not verb["arguments"]:
        return Place(text)
    at = min(len(arguments), len(verb["arguments"]) - 1)
    return _value("", verb["arguments"][at], text, "", given, arguments)


def _value(
    name: str, value: Any, text: str, before: str, given: Mapping[str, str], arguments: Sequence[str]
) -> Place:
    if isinstance(value, list):
        return Place(text, before, tuple(map(Word, value)))
    return Place(text, before, (), name, value or "", given, tuple(arguments))


def _option(verb: Verb, text: str) -> Place:
    long = [(name, option) for option in verb["options"] for name in option["names"] if name[1:2] == "-"]
    return Place(text, fixed=tuple(Word(name, option["help"]) for name, option in long))


def _names(known: Mapping[str, Verb]) -> tuple[Word, ...]:
    return tuple(Word(name, verb["help"]) for name, verb in known.items() if name)
