"""What `status`, `best` and the end of `fit` print for people."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby

from rapidfire_cli.engine.messages import reading
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.store.ranking import Metric, Ranked, known_metrics
from rapidfire_cli.store.replicates import Spread, spread
from rapidfire_cli.terms import LOSS, TRAIN, VALIDATION, RunState, Split
from rapidfire_cli.view.knobs import knob_columns
from rapidfire_cli.view.signs import BEST, STYLES
from rapidfire_cli.view.tables import Column, Row, Table
from rapidfire_cli.view.wording import NOTHING, metric_text, metric_title


def status_table(overview: Overview) -> Table[RunRow]:
    """Every run as it stands, in order."""
    known = known_metrics(overview.rows)
    objective = reading(known, overview.about.objective.metric)
    columns: list[Column[RunRow]] = [
        Column("run", lambda row: str(row.number), right=True),
        Column("state", lambda row: row.state, styles=STYLES),
        Column("epoch", lambda row: f"{row.epoch}/{row.epochs}", right=True),
        *(_metric(metric, objective, lambda row: (row,)) for metric in in_order(known, objective)),
        *map(_so_far, dict.fromkeys(name for row in overview.rows for name in row.so_far)),
        *knob_columns(overview.about.varied, overview.rows, lambda row: row.config),
    ]
    if any(row.origin for row in overview.rows):
        columns.insert(1, Column("in place of", _origin, right=True))
    return Table(columns, overview.rows, notes=failures(overview.rows))


def ranking_table(ranked: Sequence[Ranked], objective: Metric, varied: Sequence[str]) -> Table[Ranked]:
    """The leaf configs best first: the objective's metric, the other metrics, the knobs that vary."""
    known = known_metrics(row for place in ranked for row in place.rows)
    columns: list[Column[Ranked]] = [
        Column("rank", lambda place: str(place.rank) if _counts(place) else NOTHING, right=True),
        Column("", lambda place: BEST if _counts(place) and place.rank == 1 else "", styles={BEST: "yellow"}),
        Column("run", lambda place: numbers_text(row.number for row in place.rows), right=True),
        *(_metric(metric, objective, lambda place: place.rows) for metric in in_order(known, objective)),
        *knob_columns(varied, ranked, lambda place: place.row.config),
    ]
    if any(row.state is not RunState.COMPLETED for place in ranked for row in place.rows):
        columns.insert(3, Column("state", lambda place: _states(place.rows), styles=STYLES))
    return Table(columns, ranked, crowned=any(map(_counts, ranked)))


def failures(rows: Iterable[RunRow]) -> list[str]:
    """One line for each failed run, with its cause."""
    return [f"run {row.number} failed: {row.error}" for row in rows if row.state is RunState.FAILED]


def in_order(known: Mapping[Split, Iterable[str]], objective: Metric) -> list[Metric]:
    """The metrics as tables show them: the objective, the losses, then validation, training, other splits."""
    losses = [(split, LOSS) for split in (VALIDATION, TRAIN) if LOSS in known.get(split, ())]
    splits = sorted(known, key=lambda split: {VALIDATION: 0, TRAIN: 1}.get(split, 2))
    rest = [(split, name) for split in splits for name in known[split]]
    return list(dict.fromkeys((objective, *losses, *rest)))


def _origin(row: RunRow) -> str:
    return str(row.origin.run) if row.origin else NOTHING


def _so_far(name: str) -> Column[RunRow]:
    """The metric of training in the epoch under way."""
    return Column(f"{name} so far", lambda row: metric_text(row.so_far.get(name)), right=True, spare=1)


def _metric(metric: Metric, objective: Metric, runs: Callable[[Row], Sequence[RunRow]]) -> Column[Row]:
    split, name = metric

    def text(row: Row) -> str:
        same = runs(row)
        if len(same) > 1:
            return _spread_text(spread(same, split, name), same)
        return metric_text(same[0].metrics.get(split, {}).get(name))

    spare = 0 if metric == objective else 2 if name == LOSS else 3
    return Column(metric_title(split, name), text, right=True, spare=spare)


def _counts(place: Ranked) -> bool:
    """Whether there is anything to be ranked by."""
    return place.value is not None and not place.failed


def numbers_text(numbers: Iterable[int]) -> str:
    """Runs by their numbers, neighbours joined: `4`, `1–3`, `1–2, 7`."""
    stretches = groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0])
    return ", ".join(_stretch([number for _, number in stretch]) for _, stretch in stretches)


def _stretch(numbers: Sequence[int]) -> str:
    return f"{numbers[0]}–{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])


def _states(rows: Sequence[RunRow]) -> str:
    """The state that all share, or each with how many have it: `2 completed, 1 failed`."""
    states = Counter(row.state for row in rows)
    if len(states) == 1:
        return rows[0].state
    return ", ".join(f"{count} {state}" for state, count in states.items())


def _spread_text(value: Spread | None, rows: Sequence[RunRow]) -> str:
    """`0.9722 ± 0.0031`, and of how many where some have no value."""
    if value is None:
        return NOTHING
    deviation = "" if value.deviation is None else f" ± {metric_text(value.deviation)}"
    some = f" ({value.count} of {len(rows)})" if value.count < len(rows) else ""
    return f"{metric_text(value.mean)}{deviation}{some}"
