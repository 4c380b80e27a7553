"""What runs showed, epoch by epoch, and how long it took them: what a replay rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rapidfire_cli.facts import BracketBegun, EpochEnded, RunReplaced, compared_value
from rapidfire_cli.schedule.replay import Curve
from rapidfire_cli.stopping.registry import rule_of
from rapidfire_cli.stopping.rule import Rule
from rapidfire_cli.store.connection import reader
from rapidfire_cli.store.history import Past, goals, is_apart
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.terms import RunState

TURNS = """
    SELECT run, sum(ended - started) / count(*) FROM turns WHERE at IS NOT NULL AND ended > started
    GROUP BY run"""


@dataclass(frozen=True, slots=True)
class Compared:
    """Runs of equal length that a rule compared, or that one could compare."""

    rule: Rule | None  # by which they were; None where none was
    rows: tuple[RunRow, ...]

    @property
    def epochs(self) -> int:
        return self.rows[0].epochs


def compared(seen: Overview, past: Sequence[Past]) -> list[Compared]:
    """The runs by the bracket that they are or were in, else by group and length, in order of their first."""
    begun = [event for event in past if isinstance(event, BracketBegun)]
    bracket = {run: event.bracket for event in begun for run in goals(event, past)}
    unheard = {event.run for event in past if isinstance(event, RunReplaced) and not is_apart(event)}
    rules = {event.bracket: rule_of(event.rule) for event in begun}
    parts: dict[tuple[int, int, int], list[RunRow]] = {}
    for row in [row for row in seen.rows if row.number not in unheard]:  # the others stand in their place
        parts.setdefault((bracket.get(row.number, 0), row.group, row.epochs), []).append(row)
    return [Compared(rules.get(number), tuple(rows)) for (number, _, _), rows in parts.items()]


def curves(rows: Sequence[RunRow], past: Sequence[Past], metric: str) -> dict[int, Curve]:
    """The runs' curves of the metric."""
    values: dict[int, list[float | None]] = {row.number: [] for row in rows}
    for event in past:
        if isinstance(event, EpochEnded) and event.run in values:
            values[event.run].append(compared_value(event.metrics, metric))
    return {row.number: Curve(tuple(values[row.number]), row.state is RunState.FAILED) for row in rows}


def paces(journal: Path, chunks: int) -> Mapping[int, float]:
    """Seconds that an epoch took, by run, where any was trained."""
    with reader(journal) as db:
        return {run: chunks * seconds for run, seconds in db.execute(TURNS)}
