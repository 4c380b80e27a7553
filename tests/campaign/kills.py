"""Random SIGKILLs of controllers and workers: the seed says who and when, the machine what they did then."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from tests.campaign.arena import Arena, Fit

MOST_WORKER_KILLS = 3  # per controller: a run that a fourth worker dies of is given up, and rightly
TRAINING = 0.6  # seconds after an epoch's end, in which half of all kills come
CHAIN = 3  # kills in a row, each of them during the recovery from the one before


@dataclass(frozen=True, slots=True)
class Reference:
    """What an undisturbed run of the experiment came to."""

    result: dict[str, Any]
    begun: float  # seconds until the first epoch was kept


@dataclass(slots=True)
class Outcome:
    """What a trial did and what came of it."""

    campaign: str
    seed: int
    controllers: int = 0  # killed
    workers: int = 0  # killed
    chains: int = 0
    slowest_death: float = 0.0  # seconds until the last process was gone
    survivors: int = 0  # controllers that something outlived for too long
    failures: list[str] = field(default_factory=list)


def reference() -> Reference:
    """Train once without disturbance."""
    with TemporaryDirectory() as place:
        arena = Arena(Path(place))
        arena.prepare()
        began = time.monotonic()
        fit = arena.start()
        arena.await_epoch(fit)
        begun = time.monotonic() - began
        fit.process.wait()
        return Reference(arena.result(), begun)


def storm(seed: int, known: Reference, kills: int) -> Outcome:
    """Up to `kills` kills of workers and controllers at any time, then a last fit in peace."""
    outcome, random = Outcome("kills", seed), Random(f"kills {seed}")
    return _tried(outcome, known, lambda arena: _storm(arena, outcome, random, known, kills))


def _storm(arena: Arena, outcome: Outcome, random: Random, known: Reference, kills: int) -> None:
    while outcome.controllers + outcome.workers < kills:
        fit = arena.start()
        for _ in range(random.randint(0, MOST_WORKER_KILLS)):
            if _moment(arena, fit, random, known):
                return
            outcome.workers += _kill_worker(fit, random)
        if _moment(arena, fit, random, known):
            return
        _kill_controller(fit, outcome)


def _moment(arena: Arena, fit: Fit, random: Random, known: Reference) -> bool:
    """Wait for the moment of a kill: half while things start, half in training; whether it is over."""
    training, share = random.random() < 0.5, random.random()
    if training:
        arena.await_epoch(fit)
    return fit.wait(share * (TRAINING if training else known.begun))


def chain(seed: int, known: Reference) -> Outcome:
    """Kill a controller once it has got somewhere, then those that recover, one after the other."""
    outcome, random = Outcome("chains", seed), Random(f"chains {seed}")
    return _tried(outcome, known, lambda arena: _chain(arena, outcome, random, known))


def _chain(arena: Arena, outcome: Outcome, random: Random, known: Reference) -> None:
    fit = arena.start()
    arena.await_epoch(fit)
    if fit.wait(random.uniform(0, TRAINING)):
        return
    _kill_controller(fit, outcome)
    for _ in range(CHAIN):
        fit = arena.start()
        if fit.wait(random.uniform(0, known.begun)):
            return
        _kill_controller(fit, outcome)
    outcome.chains += 1


def _tried(outcome: Outcome, known: Reference, disturb: Callable[[Arena], None]) -> Outcome:
    """Disturb, let it finish, and compare every bit."""
    with TemporaryDirectory() as place:
        arena = Arena(Path(place))
        arena.prepare()
        disturb(arena)
        found = {"exit code": 0, **known.result}
        for name, value in arena.finish().items():
            if value != found[name]:
                outcome.failures.append(f"{name}: {_difference(value, found[name])}")
        if outcome.failures:
            outcome.failures.append((arena.path / "printed.txt").read_text()[-2000:])
    return outcome


def _difference(value: Any, expected: Any) -> str:
    if not isinstance(value, list):
        return f"{value} instead of {expected}"
    return f"{sorted(set(value) - set(expected))} instead of {sorted(set(expected) - set(value))}"


def _kill_worker(fit: Fit, random: Random) -> bool:
    """Kill one of the workers there are."""
    workers = sorted(fit.workers())
    if not workers:
        return False
    try:
        os.kill(random.choice(workers), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _kill_controller(fit: Fit, outcome: Outcome) -> None:
    outcome.controllers += 1
    took = fit.kill()
    if took is None:
        outcome.survivors += 1
        outcome.failures.append("something outlived its controller for 2 seconds")
    else:
        outcome.slowest_death = max(outcome.slowest_death, took)
