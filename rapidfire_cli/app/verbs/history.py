"""`history`: whole curves, a line per epoch and metric, or everything that happened."""

from collections.abc import Iterator, Sequence
from typing import cast

from rapidfire_cli.app.files import argument
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.app.selection import named_runs
from rapidfire_cli.facts import reading
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.event_log import events
from rapidfire_cli.store.ranking import known_metrics, unknown
from rapidfire_cli.store.series import Point, points
from rapidfire_cli.terms import Plain, canonical
from rapidfire_cli.view.documents import point_document
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.tables import Column, Table
from rapidfire_cli.view.wording import NOTHING, metric_text, moment_text

METRIC = "--metric"
SHOWN = ("event", "seq", "time", "run")  # in columns of their own


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
        lambda: {"history": [*map(point_document, found())]},
        lambda: map(point_document, found()),
    )
    return 0


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


def history_events(runs: Sequence[str], experiment: str | None, parent: str | None, output: Output) -> int:
    """Print every event of these runs, or of all, in order. Raises Refusal if a run does not exist."""
    seen = open_overview(experiment, parent, unlisted=True)
    numbers = [row.number for row in named_runs(runs, seen)] if runs else None

    def found() -> Iterator[dict[str, Plain]]:
        return events(seen.home.journal, numbers)

    print_rows(output, lambda: _events_table([*found()]), lambda: {"events": [*found()]}, found)
    return 0


def _about(event: dict[str, Plain]) -> str:
    """The run that the event is about, if it is about one."""
    return NOTHING if (run := event.get("run")) is None else canonical(run)


def _events_table(found: Sequence[dict[str, Plain]]) -> Table[dict[str, Plain]]:
    columns: list[Column[dict[str, Plain]]] = [
        Column("time", lambda event: moment_text(cast("float", event["time"]))),
        Column("event", lambda event: str(event["event"])),
        Column("run", _about, right=True),
        Column("what", lambda event: canonical({key: event[key] for key in event if key not in SHOWN})),
    ]
    return Table(columns, found)
