"""`history`: whole curves, a line per epoch and metric."""

from collections.abc import Iterator, Sequence

from rapidfire_cli.app.files import argument
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.app.selection import named_runs
from rapidfire_cli.facts import reading
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.ranking import known_metrics, unknown
from rapidfire_cli.store.series import Point, points
from rapidfire_cli.terms import Plain, spoken
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.tables import Column, Table
from rapidfire_cli.view.wording import metric_text

METRIC = "--metric"


def history(
    runs: Sequence[str], experiment: str | None, parent: str | None, metric: str | None, output: Output
) -> int:
    """Print what these runs, or all, measured. Raises Refusal if a run or the metric does not exist."""
    seen = open_overview(experiment, parent, unlisted=bool(runs))
    rows = named_runs(runs, seen) if runs else seen.rows
    known = known_metrics(rows)
    if metric and known and (problem := unknown(metric, known, argument(METRIC, metric))):
        raise Refusal([problem])
    numbers, measured = [row.number for row in rows], reading(known, metric) if metric else None

    def found() -> Iterator[Point]:
        return points(seen.home.journal, numbers, measured, inside=seen.metadata.chunks > 1)

    print_rows(
        output,
        lambda: _table([*found()]),
        lambda: {"history": [*map(_record, found())]},
        lambda: map(_record, found()),
    )
    return 0


def _record(point: Point) -> dict[str, Plain]:
    return {
        "run": point.run,
        "epoch": point.epoch,
        "step": point.step,
        "split": point.split,
        "metric": point.name,
        "value": spoken(point.value),
        "ended": point.ended,
    }


def _table(found: Sequence[Point]) -> Table[Point]:
    columns: list[Column[Point]] = [
        Column("run", lambda point: str(point.run), right=True),
        Column("epoch", lambda point: f"{point.epoch}" if point.ended else f"in {point.epoch}", right=True),
        Column("step", lambda point: f"{point.step:,}", right=True),
        Column("split", lambda point: point.split),
        Column("metric", lambda point: point.name),
        Column("value", lambda point: metric_text(point.value), right=True),
    ]
    return Table(columns, found)
