"""What `status`, `best` and the end of `fit` print for people."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby

from rapidfire_cli.engine.local.log_rotation import LOG
from rapidfire_cli.facts import reading
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.store.ranking import Metric, Ranked, known_metrics
from rapidfire_cli.store.replicates import Spread, spread
from rapidfire_cli.terms import (
    LOSS,
    TRAIN,
    VALIDATION,
    Clone,
    Fork,
    Keep,
    Objective,
    OomRetry,
    RunState,
    Split,
)
from rapidfire_cli.view.knob_columns import knob_columns, varied
from rapidfire_cli.view.lines import devices_text
from rapidfire_cli.view.signs import BEST, STYLES
from rapidfire_cli.view.tables import Column, Row, Table
from rapidfire_cli.view.wording import NOTHING, counted, metric_text, metric_title, numbered

ADDRESS = re.compile(r"\b0x[0-9a-f]+\b")
"""What differs between the causes of runs that failed for the same reason."""

REMOVED = "not in the file"
KEPT: Mapping[Keep, str] = {"resume": "their weights and last checkpoint", "weights": "their weights only"}


def status_table(overview: Overview, more: Sequence[str] = ()) -> Table[RunRow]:
    """The table of `status`: every run with its state, in order; `more` are lines below."""
    known = known_metrics(overview.rows)
    objective = reading(known, overview.metadata.objective.metric)
    of = in_order(known, objective)
    metrics: list[Column[RunRow]] = [_metric(metric, objective, lambda row: (row,)) for metric in of]
    columns: list[Column[RunRow]] = [
        Column("run", lambda row: str(row.number), right=True),
        Column("state", lambda row: row.state, styles=STYLES),
        Column("epoch", lambda row: f"{row.epoch}/{row.epochs}", right=True),
        *metrics[:1],
        *_best(overview.rows, overview.objective, objective, lambda row: (row,)),
        *metrics[1:],
        *map(_partial_metrics, dict.fromkeys(name for row in overview.rows for name in row.partial_metrics)),
        *knob_columns(varied(overview), overview.rows, lambda row: row.config),
    ]
    if any(row.host for row in overview.rows):
        columns.insert(2, Column("node", lambda row: row.host))
    if not all(row.listed for row in overview.rows):
        columns.insert(2, Column("file", lambda row: "" if row.listed else REMOVED))
    if any(isinstance(row.origin, Clone) for row in overview.rows):
        columns.insert(1, Column("clone of", lambda row: _origin(row, Clone), right=True))
    if any(isinstance(row.origin, Fork) for row in overview.rows):
        columns.insert(1, Column("fork of", lambda row: _origin(row, Fork), right=True))
    if any(isinstance(row.origin, OomRetry) for row in overview.rows):
        columns.insert(1, Column("replaces", lambda row: _origin(row, OomRetry), right=True))
    notes = [*failures(overview.rows, overview.home), *_kept(overview), *_packed(overview), *more]
    return Table(columns, overview.rows, notes=notes)


def _kept(overview: Overview) -> Iterator[str]:
    """What completed runs keep on the disk, if there are any."""
    if any(row.state is RunState.COMPLETED for row in overview.rows):
        yield f"completed runs keep {KEPT[overview.metadata.keep]} (execution.keep: {overview.metadata.keep})"


def _packed(overview: Overview) -> Iterator[str]:
    """How many runs share each GPU and why, if that was decided, and what became of it."""
    if packing := overview.metadata.packing:
        yield packing.why
    for given in overview.given:
        yield f"run {given.run} {devices_text(given)}"


def ranking_table(
    ranked: Sequence[Ranked], objective: Objective, measured: Metric, paths: Sequence[str], more: str = ""
) -> Table[Ranked]:
    """The leaf configs best first: what they are ranked by, the other metrics, the knobs that vary.

    `measured` is the objective's metric where it is measured, `paths` are those knobs, and `more` says how to
    see the leaf configs that are left out.
    """
    rows = [row for place in ranked for row in place.rows]
    known = known_metrics(rows)
    of = in_order(known, measured)
    metrics: list[Column[Ranked]] = [_metric(metric, measured, lambda place: place.rows) for metric in of]
    best: list[Column[Ranked]] = [*_best(rows, objective, measured, lambda place: place.rows)]
    columns: list[Column[Ranked]] = [
        Column("rank", lambda place: str(place.rank) if _counts(place) else NOTHING, right=True),
        Column("", lambda place: BEST if _counts(place) and place.rank == 1 else "", styles={BEST: "yellow"}),
        Column("run", lambda place: numbers_text(row.number for row in place.rows), right=True),
        *([*best, *metrics] if objective.at == "best" else [*metrics[:1], *best, *metrics[1:]]),
        *knob_columns(paths, ranked, lambda place: place.row.config),
    ]
    if any(row.state is not RunState.COMPLETED for row in rows):
        columns.insert(3, Column("state", lambda place: _states(place.rows), styles=STYLES))
    return Table(columns, ranked, highlight_first=any(map(_counts, ranked)), notes=[more] if more else [])


def failures(rows: Iterable[RunRow], home: ExperimentDir, known: bool = False) -> list[str]:
    """A line for each cause for which runs failed, with their numbers and the log of the first.

    Where the causes are `known`, because each was printed when it came, the lines do not repeat them.
    """
    causes: dict[str, list[RunRow]] = {}
    for row in rows:
        if row.state is RunState.FAILED:
            causes.setdefault(ADDRESS.sub("", row.error), []).append(row)
    return [_failure(failed, home, known) for failed in causes.values()]


def _failure(rows: Sequence[RunRow], home: ExperimentDir, known: bool) -> str:
    cause, log = rows[0].error, home.run(rows[0]) / LOG
    if known:
        reason = " for the same reason" if len(rows) > 1 else ""
        return (
            f"{counted(len(rows), 'run')} failed{reason}: {numbered([row.number for row in rows])}, see {log}"
        )
    if len(rows) == 1:
        return f"run {rows[0].number} failed: {cause}; see {log}"
    return f"{len(rows):,} runs failed: {cause}; {numbered([row.number for row in rows])}, see {log}"


def _best(
    rows: Iterable[RunRow], objective: Objective, measured: Metric, runs: Callable[[Row], Sequence[RunRow]]
) -> Iterator[Column[Row]]:
    """The best value and its epoch, where runs have more than one epoch to choose from."""
    if any(row.best and row.epoch > 1 for row in rows):
        text = partial(_best_text, measured=measured)
        drop_order = 0 if objective.at == "best" else 1
        yield Column(
            f"best {metric_title(*measured)}", lambda row: text(runs(row)), right=True, drop_order=drop_order
        )


def _best_text(rows: Sequence[RunRow], measured: Metric) -> str:
    """`0.9722 @ 7`; of replicates the mean of each one's best, and their epochs."""
    if len(rows) == 1:
        best = rows[0].best
        return f"{metric_text(best.value)} @ {best.epoch}" if best else NOTHING
    epochs = {row.best.epoch for row in rows if row.best}
    text = _spread_text(spread(rows, *measured, "best"), rows)
    return f"{text} @ {numbers_text(epochs)}" if epochs else text


def in_order(known: Mapping[Split, Iterable[str]], objective: Metric) -> list[Metric]:
    """The metrics as tables show them: the objective, the losses, then validation, training, other splits."""
    losses = [(split, LOSS) for split in (VALIDATION, TRAIN) if LOSS in known.get(split, ())]
    splits = sorted(known, key=lambda split: {VALIDATION: 0, TRAIN: 1}.get(split, 2))
    rest = [(split, name) for split in splits for name in known[split]]
    return list(dict.fromkeys((objective, *losses, *rest)))


def _origin(row: RunRow, kind: type[OomRetry | Clone | Fork]) -> str:
    return str(row.origin.run) if isinstance(row.origin, kind) else NOTHING


def _partial_metrics(name: str) -> Column[RunRow]:
    """The metric of training in the epoch under way."""
    return Column(
        f"{name} so far", lambda row: metric_text(row.partial_metrics.get(name)), right=True, drop_order=1
    )


def _metric(metric: Metric, objective: Metric, runs: Callable[[Row], Sequence[RunRow]]) -> Column[Row]:
    split, name = metric

    def text(row: Row) -> str:
        same = runs(row)
        if len(same) > 1:
            return _spread_text(spread(same, split, name), same)
        return metric_text(same[0].metrics.get(split, {}).get(name))

    drop_order = 0 if metric == objective else 2 if name == LOSS else 3
    return Column(metric_title(split, name), text, right=True, drop_order=drop_order)


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
