"""What `evaluate` prints."""

from collections.abc import Mapping
from dataclasses import dataclass

from rapidfire_cli.terms import Plain, Split, spoken
from rapidfire_cli.view.tables import Column, Table
from rapidfire_cli.view.wording import metric_text


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A run's metrics over a split."""

    run: int
    split: Split
    epoch: int  # whose weights were used
    epochs: int
    step: int
    rows: int
    metrics: Mapping[str, float]


def evaluation_table(shown: Evaluation) -> Table[Evaluation]:
    """One line for the run."""
    columns: list[Column[Evaluation]] = [
        Column("run", lambda row: str(row.run), right=True),
        Column("epoch", lambda row: f"{row.epoch}/{row.epochs}", right=True),
        Column("split", lambda row: row.split),
        Column("rows", lambda row: f"{row.rows:,}", right=True),
        *map(_metric, shown.metrics),
    ]
    return Table(columns, [shown])


def _metric(name: str) -> Column[Evaluation]:
    return Column(name, lambda row: metric_text(row.metrics[name]), right=True)


def evaluation_document(shown: Evaluation) -> dict[str, Plain]:
    """What programs read; metrics are named as in `status`."""
    return {
        "run": shown.run,
        "split": shown.split,
        "epoch": shown.epoch,
        "step": shown.step,
        "rows": shown.rows,
        "metrics": {name: spoken(value) for name, value in shown.metrics.items()},
    }
