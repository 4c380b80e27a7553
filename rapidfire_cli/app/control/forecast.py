"""How long all that is left would train, with and without a request: what `--dry-run` says of time.

Simulated from how long epochs took so far. Nothing is assumed to be pruned, so it is an upper bound.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from rapidfire_cli.requests import Ask, CloneRun, Delete, Resume, Stop
from rapidfire_cli.schedule.events import NewRun, RunsAdded
from rapidfire_cli.schedule.simulate import Simulation
from rapidfire_cli.store.pace import Pace
from rapidfire_cli.store.queries import RunRow
from rapidfire_cli.terms import UNFINISHED, gang_size


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds until everything is trained, at most."""

    before: float  # without the request
    after: float


def forecast(ask: Ask, changed: set[int], rows: Mapping[int, RunRow], pace: Pace) -> Forecast | None:
    """What the request comes to if it changes these runs; None where no time can be foreseen."""
    if not (pace.slots and pace.seconds) or not isinstance(ask, Stop | Delete | Resume | CloneRun):
        return None
    left = {
        row.number: (row.number, row.epochs - row.epoch) for row in rows.values() if row.state in UNFINISHED
    }
    then = {**left}
    for number in changed:
        row = rows[number]
        match ask:
            case Stop() | Delete():
                then.pop(number, None)
            case Resume():
                then[number] = number, row.epochs - row.epoch
            case CloneRun():
                then[max([*rows, *then]) + 1] = number, ask.epochs or row.epochs
            case _:
                assert_never(ask)
    return Forecast(_seconds(left, rows, pace), _seconds(then, rows, pace))


def _seconds(left: Mapping[int, tuple[int, int]], rows: Mapping[int, RunRow], pace: Pace) -> float:
    """Until all have trained: by run, whose pace and devices it has, and its epochs."""
    if not left:
        return 0.0
    gangs = {run: min(gang_size(rows[like].config, pace.gpus), pace.slots) for run, (like, _) in left.items()}
    runs = tuple(NewRun(run, epochs, gang=gangs[run]) for run, (_, epochs) in sorted(left.items()) if epochs)
    simulation = Simulation(pace.slots, lambda run, epochs: epochs * pace.of(left[run][0]), lambda *_: None)
    return simulation.run([RunsAdded(runs)]).makespan
