"""What `compare` prints: runs side by side, with what differs between them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rapidfire_cli.facts import reading
from rapidfire_cli.manifest.knob_paths import ABSENT, cell, dotted, knobs
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.store.ranking import Metric, known_metrics
from rapidfire_cli.terms import Plain, Split
from rapidfire_cli.view.documents import run_document
from rapidfire_cli.view.results import in_order
from rapidfire_cli.view.tables import Column, Table
from rapidfire_cli.view.wording import NOTHING, knob_text, metric_text, metric_title


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side."""

    seen: Overview
    rows: Sequence[RunRow]
    whole: bool = False  # whether equal knobs are shown, too

    @property
    def paths(self) -> list[str]:
        """The knobs to show, in the order of the first run that has them."""
        found = dict.fromkeys(dotted(path) for row in self.rows for path, _ in knobs(row.config))
        return [path for path in found if self.whole or len({_text(row, path) for row in self.rows}) > 1]


def comparison_table(compared: Comparison) -> Table[tuple[str, Sequence[str]]]:
    """A row per knob that differs and per metric, a column per run."""
    seen, rows = compared.seen, compared.rows
    known = known_metrics(rows)
    lines: list[tuple[str, Sequence[str]]] = [
        ("state", [row.state for row in rows]),
        ("epoch", [f"{row.epoch}/{row.epochs}" for row in rows]),
        *((metric_title(*metric), [_value(row, metric) for row in rows]) for metric in _metrics(known, seen)),
        *((path, [_text(row, path) for row in rows]) for path in compared.paths),
    ]
    columns: list[Column[tuple[str, Sequence[str]]]] = [Column("", lambda line: line[0])]
    columns += [_run(at, row) for at, row in enumerate(rows)]
    equal = [] if compared.whole or compared.paths else ["all knobs are equal"]
    return Table(columns, lines, notes=equal)


def comparison_document(compared: Comparison) -> dict[str, Plain]:
    """The runs, and the knobs that differ by run number, for programs; a missing knob is left out."""
    return {
        "runs": [run_document(row, compared.seen) for row in compared.rows],
        "knobs": {path: _values(compared.rows, path) for path in compared.paths},
    }


def _values(rows: Iterable[RunRow], path: str) -> dict[str, Plain]:
    found = {str(row.number): cell(row.config, path) for row in rows}
    return {number: value for number, value in found.items() if value is not ABSENT}


def _run(at: int, row: RunRow) -> Column[tuple[str, Sequence[str]]]:
    return Column(f"run {row.number}", lambda line: line[1][at], right=True, drop_order=at)


def _metrics(known: Mapping[Split, Collection[str]], seen: Overview) -> list[Metric]:
    metrics = in_order(known, reading(known, seen.objective.metric))
    return [metric for metric in metrics if metric[1] in known.get(metric[0], ())]


def _value(row: RunRow, metric: Metric) -> str:
    split, name = metric
    return metric_text(row.metrics.get(split, {}).get(name))


def _text(row: RunRow, path: str) -> str:
    value = cell(row.config, path)
    return NOTHING if value is ABSENT else knob_text(value)
