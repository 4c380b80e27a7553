"""Rows on stdout, in the form that `--output` asks for."""

import sys
from collections.abc import Callable, Iterable
from typing import Any, assert_never

from rapidfire_cli.view.formats import Output, Record, csv_columns, csv_lines, json_line, json_text, yaml_text
from rapidfire_cli.view.tables import Table, show


def print_rows(
    output: Output,
    table: Callable[[], Table[Any]],
    document: Callable[[], Record],
    records: Callable[[], Iterable[Record]],
) -> None:
    """Print one of: a table, a document (json, yaml), a record per line (jsonl, csv)."""
    print_either(output, lambda: show(table(), sys.stdout), document, records)


def print_either(
    output: Output,
    people: Callable[[], None],
    document: Callable[[], Record],
    records: Callable[[], Iterable[Record]],
) -> None:
    """Print for `people` where `table` is asked for; for programs as `print_rows` does."""
    match output:
        case Output.TABLE:
            people()
        case Output.JSON:
            print(json_text(document()))
        case Output.YAML:
            print(yaml_text(document()))
        case Output.JSONL:
            sys.stdout.writelines(f"{json_line(record)}\n" for record in records())
        case Output.CSV:
            rows = list(records())
            sys.stdout.writelines(f"{line}\n" for line in csv_lines(rows, csv_columns(rows)))
        case _:
            assert_never(output)
