"""The AST as text in each notation; read again, it means the same."""

import json
import re
from collections.abc import Iterator, Mapping

from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.syntax.keys import GROUP_KEYS
from rapidfire_cli.syntax.scalars import resolve
from rapidfire_cli.syntax.serialize import whole
from rapidfire_cli.syntax.text import UNFIT
from rapidfire_cli.terms import Plain

_WIDTH = 88  # maximum characters of a collection on one line
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./:-]*(?<!:)")
_FLAGS = ("yes", "no", "on", "off")  # of YAML 1.1, which many libraries read
_EXPONENT = re.compile(r"^(-?\d+)e")  # YAML 1.1 requires a dot here
_LONGEST_KEY = 1000  # YAML requires a `?` before a key of more than 1,024 characters (YAML 1.2, 7.4.3)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def to_json(file: ExperimentFile) -> str:
    """The file as JSON."""
    return _fit(json.dumps(whole(file), indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def to_yaml(file: ExperimentFile) -> str:
    """The file as YAML, value sets as tags."""
    return yaml(whole(file))


def yaml(mapping: Mapping[str, Plain]) -> str:
    """A mapping as YAML that 1.1 and 1.2 read alike, its keys one below the other."""
    lines = (line for key, value in mapping.items() for line in _block(value, _yaml_key(key, ""), "  "))
    return "".join(f"{line}\n" for line in lines)


def to_toml(file: ExperimentFile) -> str:
    """The file as TOML: dotted keys, since only they keep the order of knobs, which is the order of runs."""
    return "".join(f"{line}\n" for line in _statements(whole(file)))


def _block(value: Plain, lead: str, indent: str) -> Iterator[str]:
    """What follows a key or a dash, on its line if it fits there, else below it."""
    tag, held = _untabled(value)
    parts = held if isinstance(held, dict | list) else []
    if line := _line(value, _WIDTH - len(lead) if parts else None):
        yield f"{lead} {line}"
        return
    yield f"{lead} {tag}".rstrip()
    if isinstance(parts, dict):
        for key, inner in parts.items():
            yield from _block(inner, _yaml_key(key, indent), f"{indent}  ")
    else:
        for item in parts:
            yield from _item(item, indent)


def _item(value: Plain, indent: str) -> Iterator[str]:
    """An item of a list; a mapping begins on the dash's line."""
    lines = _block(value, f"{indent}-", f"{indent}  ")
    dash = next(lines)
    yield f"{dash} {next(lines).lstrip()}" if dash == f"{indent}-" else dash
    yield from lines


def _line(value: Plain, room: int | None) -> str:
    """A value on one line; empty when it is too long, which is detected without writing all of it."""
    line = ""
    for piece in _pieces(value):
        line += piece
        if room is not None and len(line) >= room:
            return ""
    return line


def _pieces(value: Plain) -> Iterator[str]:
    """A value on one line, piece by piece."""
    tag, held = _untabled(value)
    if tag:
        yield f"{tag} "
    match held:
        case dict():
            yield "{"
            for place, (key, inner) in enumerate(held.items()):
                yield f"{', ' if place else ''}{_yaml_text(key)}: "
                yield from _pieces(inner)
            yield "}"
        case list():
            yield "["
            for place, inner in enumerate(held):
                yield ", " if place else ""
                yield from _pieces(inner)
            yield "]"
        case str():
            yield _yaml_text(held)
        case _:
            yield _EXPONENT.sub(r"\1.0e", json.dumps(held))


def _untabled(value: Plain) -> tuple[str, Plain]:
    """The tag that YAML writes for a one-key table, and what it marks."""
    if not (isinstance(value, dict) and len(value) == 1):
        return "", value
    ((tag, held),) = value.items()
    if not tag.startswith("!"):
        return "", value
    return tag, held


def _yaml_key(key: str, indent: str) -> str:
    text = _yaml_text(key)
    return f"{indent}{text}:" if len(text) < _LONGEST_KEY else f"{indent}? {text}\n{indent}:"


def _yaml_text(text: str) -> str:
    plain = _PLAIN.fullmatch(text) and resolve(text) is text and text.lower() not in _FLAGS
    return text if plain else _quoted(text)


def _quoted(text: str) -> str:
    """A text in double quotes, as every notation reads it."""
    return _fit(json.dumps(text, ensure_ascii=False))


def _fit(text: str) -> str:
    """The text with escapes for characters that are invalid in a file; only quoted strings have them."""
    return UNFIT.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _statements(file: dict[str, Plain]) -> Iterator[str]:
    for key, value in file.items():
        if key not in GROUP_KEYS:
            yield from _pairs(_toml_key(key), value)
    for key, value in file.items():
        match value:
            case list() if key in GROUP_KEYS:
                for group in value:
                    yield from ("", f"[[{key}]]")
                    yield from _table(group)
            case dict() if key in GROUP_KEYS:
                yield from ("", f"[{key}]")
                yield from _table(value)


def _table(value: Plain) -> Iterator[str]:
    assert isinstance(value, dict)
    for key, inner in value.items():
        yield from _pairs(_toml_key(key), inner)


def _pairs(path: str, value: Plain) -> Iterator[str]:
    """A line per knob at or below the dotted path."""
    if isinstance(value, dict) and value and not _untabled(value)[0]:
        for key, inner in value.items():
            yield from _pairs(f"{path}.{_toml_key(key)}", inner)
    else:
        yield f"{path} = {_inline(value)}"


def _inline(value: Plain) -> str:
    """A value on one line, null as a one-key table."""
    match value:
        case None:
            return '{"!null" = true}'
        case dict():
            return (
                "{" + ", ".join(f"{_toml_key(key)} = {_inline(inner)}" for key, inner in value.items()) + "}"
            )
        case list():
            return f"[{', '.join(map(_inline, value))}]"
        case str():
            return _quoted(value)
    return json.dumps(value)


def _toml_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _quoted(key)
