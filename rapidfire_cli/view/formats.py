"""Rows as machines read them: json, jsonl, csv and yaml."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

from rapidfire_cli.terms import Plain

Record = Mapping[str, Plain]


class Output(StrEnum):
    """What `--output` takes."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    YAML = "yaml"


def json_text(document: Record) -> str:
    """One document, indented."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)


def json_line(record: Record) -> str:
    """One record on a line of its own."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


def yaml_text(document: Record | Sequence[Record]) -> str:
    """A document, or items of a list, as YAML that 1.1 and 1.2 readers understand alike."""
    import yaml

    class Dumper(yaml.CSafeDumper):
        """Quotes what YAML 1.2 would take for a number though 1.1 does not (`1e-4`)."""

    def quoted(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
        looks_numeric = text[:1] in "+-.0123456789" and bool(text)
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if looks_numeric else None)

    Dumper.add_representer(str, quoted)
    return str(yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True)).rstrip("\n")


def csv_columns(records: Iterable[Record]) -> list[str]:
    """The dotted paths of everything in the records, in order of first appearance."""
    from rapidfire_cli.manifest.knob_paths import dotted, knobs

    found = (dotted(path) for record in records for path, value in knobs(dict(record)) if value != {})
    return list(dict.fromkeys(found))


def csv_lines(records: Iterable[Record], columns: Sequence[str]) -> Iterator[str]:
    """A header and a line per record; a cell that is missing or null is empty, a list is JSON."""
    from rapidfire_cli.manifest.knob_paths import ABSENT, cell

    yield _csv_line(columns)
    for record in records:
        found = (cell(record, column) for column in columns)
        yield _csv_line(["" if value is ABSENT else _csv_cell(value) for value in found])


def _csv_cell(value: Plain) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
