"""What `diff` prints."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rapidfire_cli.manifest.difference import Change, Difference, KnobValue
from rapidfire_cli.manifest.knob_paths import ABSENT
from rapidfire_cli.terms import Plain, Run
from rapidfire_cli.view.expansion import run_record
from rapidfire_cli.view.knob_columns import knob_value, short_names
from rapidfire_cli.view.tables import Column, Table
from rapidfire_cli.view.wording import NOTHING, knob_text

STYLES = {"+": "green", "-": "red", "~": "yellow"}


class Line(NamedTuple):
    """A run that is not in both files."""

    sign: str
    number: str
    group: int
    knobs: str


def difference_table(found: Difference, varied: Sequence[str]) -> Table[Line]:
    """The runs that are not in both; `varied` are the knobs that tell runs apart."""
    changed = (change.name for pair in found.changed for change in pair.knobs)
    paths = list(dict.fromkeys([*varied, *changed]))
    names = dict(zip(paths, short_names(paths), strict=True))
    apart = {path: names[path] for path in varied}
    columns: list[Column[Line]] = [
        Column("", lambda row: row.sign, styles=STYLES),
        Column("run", lambda row: row.number, right=True),
        Column("group", lambda row: f"{row.group}", right=True),
        Column("knobs", lambda row: row.knobs),
    ]
    lines = [
        *(
            Line("~", _renumbered(before, after), after.group, _changes(knobs, names))
            for before, after, knobs in found.changed
        ),
        *(Line("-", f"{run.number}", run.group, _knobs(run, apart)) for run in found.removed),
        *(Line("+", f"{run.number}", run.group, _knobs(run, apart)) for run in found.added),
    ]
    return Table(columns, lines)


def headline(found: Difference) -> str:
    """`2 added, 1 removed, 3 changed, 8 kept`."""
    return ", ".join(f"{count:,} {what}" for what, count in _counts(found).items())


def shared_lines(changes: Iterable[Change]) -> Iterator[str]:
    """What changed for every run."""
    for change in changes:
        yield f"every run: {change.name} {_text(change.before)} → {_text(change.after)}"


def difference_document(found: Difference, shared: Sequence[Change]) -> dict[str, Plain]:
    """The same as one document, runs that are in both included."""
    return {
        "counts": dict(_counts(found)),
        "shared": [_change(change, "name") for change in shared],
        "added": [run_record(run) for run in found.added],
        "removed": [run_record(run) for run in found.removed],
        "changed": [
            {**_ends(before, after), "knobs": [_change(change, "knob") for change in knobs]}
            for before, after, knobs in found.changed
        ],
        "kept": [_ends(*pair) for pair in found.kept],
    }


def difference_records(found: Difference) -> Iterator[dict[str, Plain]]:
    """The same as one record per run or pair of runs."""
    for before, after, knobs in found.changed:
        changes: list[Plain] = [_change(change, "knob") for change in knobs]
        yield {"change": "changed", **_ends(before, after), "knobs": changes}
    for run in found.removed:
        yield {"change": "removed", "before": _end(run)}
    for run in found.added:
        yield {"change": "added", "after": _end(run)}
    for pair in found.kept:
        yield {"change": "kept", **_ends(*pair)}


def _counts(found: Difference) -> Mapping[str, int]:
    return {
        "added": len(found.added),
        "removed": len(found.removed),
        "changed": len(found.changed),
        "kept": len(found.kept),
    }


def _ends(before: Run, after: Run) -> dict[str, Plain]:
    return {"before": _end(before), "after": _end(after)}


def _end(run: Run) -> dict[str, Plain]:
    return {"number": run.number, "id": run.id, "group": run.group}


def _change(change: Change, called: str) -> dict[str, Plain]:
    """A knob that one of both lacks has no value there."""
    ends = {"before": change.before, "after": change.after}
    return {called: change.name, **{end: value for end, value in ends.items() if value is not ABSENT}}


def _renumbered(before: Run, after: Run) -> str:
    return f"{before.number}" if before.number == after.number else f"{before.number} → {after.number}"


def _changes(knobs: Sequence[Change], names: Mapping[str, str]) -> str:
    return ", ".join(f"{names[knob]} {_text(before)} → {_text(after)}" for knob, before, after in knobs)


def _knobs(run: Run, names: Mapping[str, str]) -> str:
    leaf = run.leaf
    values = {name: knob_value(leaf, path) for path, name in names.items()}
    return ", ".join(f"{name} {value}" for name, value in values.items() if value != NOTHING)


def _text(value: "KnobValue") -> str:
    return NOTHING if value is ABSENT else knob_text(value)
