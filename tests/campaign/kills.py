"""Random SIGKILLs of controllers and workers: the seed says who and when, the machine what they did then."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from tests.campaign.arena import Arena, Fit
from tests.campaign.outcome import TOLD, Outcome

MOST_WORKER_KILLS = 3  # per controller: a run that a fourth worker dies of is given up, and rightly
TRAINING = 0.9  # seconds after an epoch's end, in which half of all kills come
DEPTH = 3  # kills in a row, each of them during the recovery from the one before
KILLS, CHAINS = 20, 12  # the most in one sweep


@dataclass(frozen=True, slots=True)
class Reference:
    """What an undisturbed run of the experiment came to."""

    experiment: str
    result: dict[str, Any]
    begun: float  # seconds until the first epoch was kept; a worker that is replaced takes about half of it
    forked: bool  # how its fits start, as `Arena` says


def reference(experiment: str, at_once: int = 1, forked: bool = False) -> Reference:
    """Train without disturbance, so many times at once."""
    with ExitStack() as stack:
        places = [Path(stack.enter_context(TemporaryDirectory())) for _ in range(at_once)]
        arenas = [stack.enter_context(Arena(place, experiment, forked)) for place in places]
        fits = [arena.start() for arena in arenas]
        began = time.monotonic()
        while not any(arena.epochs() for arena in arenas) and not fits[0].wait(0.05):
            continue
        begun = time.monotonic() - began
        first, *others = (arena.end(fit) for arena, fit in zip(arenas, fits, strict=True))
    assert first["exit code"] == 0 and all(other == first for other in others), "undisturbed sweeps differ"
    return Reference(experiment, first, begun, forked)


def storm(seed: int, known: Reference, kills: int = KILLS) -> Outcome:
    """Up to `kills` kills of workers and controllers at any time, then a last fit in peace."""
    outcome, random = Outcome("kills", seed), Random(f"kills {seed}")
    return _tried(outcome, known, lambda arena: _storm(arena, outcome, random, known, kills))


def _storm(arena: Arena, outcome: Outcome, random: Random, known: Reference, kills: int) -> None:
    while outcome.done < kills:
        fit = arena.start()
        starting = known.begun
        for _ in range(random.randint(0, MOST_WORKER_KILLS)):
            if _moment(arena, fit, random, starting):
                return
            _kill_worker(fit, random, outcome)
            starting = known.begun / 2
        if _moment(arena, fit, random, starting):
            return
        _kill_controller(fit, outcome)
        outcome.done += 1


def _moment(arena: Arena, fit: Fit, random: Random, starting: float) -> bool:
    """Wait for the moment of a kill: half while things start, half in training; whether it is over."""
    training, share = random.random() < 0.5, random.random()
    if training:
        arena.await_epoch(fit)
    return fit.wait(share * (TRAINING if training else starting))


def chain(seed: int, known: Reference, chains: int = CHAINS) -> Outcome:
    """Up to `chains` chains, one after the other, then a last fit in peace."""
    outcome, random = Outcome("chains", seed), Random(f"chains {seed}")

    def disturb(arena: Arena) -> None:
        while outcome.done < chains and _chain(arena, outcome, random, known):
            outcome.done += 1

    return _tried(outcome, known, disturb)


def _chain(arena: Arena, outcome: Outcome, random: Random, known: Reference) -> bool:
    """Kill a controller once it has got somewhere, then those that recover; whether it came to that."""
    fit = arena.start()
    arena.await_epoch(fit)
    if fit.wait(random.uniform(0, TRAINING)):
        return False
    _kill_controller(fit, outcome)
    for _ in range(DEPTH):
        fit = arena.start()
        if fit.wait(random.uniform(0, known.begun)):
            return False
        _kill_controller(fit, outcome)
    return True


def _tried(outcome: Outcome, known: Reference, disturb: Callable[[Arena], None]) -> Outcome:
    """Disturb, let it finish, and compare every bit."""
    with TemporaryDirectory() as place, Arena(Path(place), known.experiment, known.forked) as arena:
        with outcome.judged():
            disturb(arena)
            told = arena.finish()
            for code in {fit.process.poll() for fit in arena.fits} - {0, None, -signal.SIGKILL}:
                outcome.failures.append(f"a disturbed fit gave up with exit code {code}")
            for name, value in told.items():
                if value != known.result[name]:
                    outcome.failures.append(f"{name}: {_difference(value, known.result[name])}")
        if outcome.failures:
            outcome.failures.append((arena.path / "printed.txt").read_text()[-TOLD:])
    return outcome


def _difference(value: Any, expected: Any) -> str:
    if not isinstance(value, list):
        return f"{value} instead of {expected}"
    return f"{sorted(set(value) - set(expected))} instead of {sorted(set(expected) - set(value))}"


def _kill_worker(fit: Fit, random: Random, outcome: Outcome) -> None:
    """Kill one of the workers, if there are any."""
    workers = sorted(fit.workers())
    with suppress(ProcessLookupError):
        if workers:
            os.kill(random.choice(workers), signal.SIGKILL)
            outcome.workers += 1
            outcome.done += 1


def _kill_controller(fit: Fit, outcome: Outcome) -> None:
    outcome.controllers += 1
    took = fit.kill()
    if took is None:
        outcome.survivors += 1
        outcome.failures.append("something outlived its controller for 2 seconds")
    else:
        outcome.slowest_death = max(outcome.slowest_death, took)
