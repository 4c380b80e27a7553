"""The campaigns: what one trial of each is, and what the whole comes to."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rapidfire_cli.durable.failpoints import KILL
from tests.campaign.arena import LONG
from tests.campaign.kills import CHAINS, DEPTH, KILLS, Reference, chain, reference, storm
from tests.campaign.outcome import Outcome
from tests.campaign.starts import SIZE, crowd

WRONG = (KILL, "ENOSPC", "EIO", "EACCES")
CORRUPTIONS = 500  # in one trial


@dataclass(frozen=True, slots=True)
class Plan:
    """A campaign, prepared."""

    trial: Callable[[int], Outcome]
    whole: int  # of what the campaign counts
    each: int = 1  # the most of it that one trial does


@dataclass(frozen=True, slots=True)
class Campaign:
    """What it counts, what it proves, and how it is prepared."""

    counts: str
    proves: str
    prepare: Callable[[], Plan]
    alone: bool = False  # one trial at a time


@cache
def plan(name: str) -> Plan:
    """The campaign, prepared once."""
    return CAMPAIGNS[name].prepare()


def _starts() -> Plan:
    return Plan(crowd, 100)


def _kills() -> Plan:
    return Plan(partial(storm, known=_known()), 1000, KILLS)


def _chains() -> Plan:
    return Plan(partial(chain, known=_known()), 200, CHAINS)


@cache
def _known() -> Reference:
    return reference(LONG, os.cpu_count() or 1)  # as many as start at once in earnest


def _points() -> Plan:
    from tests.scenarios import struck
    from tests.scenarios.conftest import Cli

    with TemporaryDirectory() as place:
        whole = struck.undisturbed(Cli(Path(place)))

    def check(place: Path, case: tuple[str, str]) -> None:
        struck.goes_wrong_once(place, *case, whole)

    return _one_by_one("points", [(point, what) for point in whole.points for what in WRONG], check)


def _calls() -> Plan:
    import torch

    from tests.durable import calls

    torch.set_num_threads(1)  # as a worker on the CPU does
    made, whole = calls.undisturbed()

    def check(place: Path, case: tuple[calls.Call, str]) -> None:
        call, what = case
        if what == KILL:
            calls.kill(place, call, whole)
        else:
            calls.fail(place, call, what, whole)

    return _one_by_one("calls", [(call, what) for call in made for what in WRONG], check)


def _corruptions() -> Plan:
    from tests.durable import corruption

    def check(place: Path, seed: int) -> None:
        loaded = corruption.unseen(corruption.published(place), CORRUPTIONS, seed)
        assert not loaded, f"loaded all the same: {loaded}"

    return _one_by_one("corruptions", range(10_000 // CORRUPTIONS), check, CORRUPTIONS)


def _states() -> Plan:
    from tests.durable import publishing

    root, recorder = _recorded()
    states = list(publishing.woken(root, recorder, recorder.steps))
    tenths = [states[first::10] for first in range(10)]

    def trial(seed: int) -> Outcome:
        outcome = Outcome("states", seed, done=len(tenths[seed]))
        with outcome.judged(), TemporaryDirectory() as place:
            for state, promised in tenths[seed]:
                wrong = list(publishing.wrongs(state, promised, Path(place, "woken")))
                assert not wrong, f"{wrong} in {state}"
        return outcome

    return Plan(trial, len(states), len(tenths[0]))


def _syncs() -> Plan:
    from tests.durable import publishing

    root, recorder = _recorded()

    def check(place: Path, sync: int) -> None:
        steps = publishing.without(recorder.steps, sync)
        left_out = recorder.steps[publishing.syncs(recorder.steps)[sync]]
        assert publishing.noticed(root, recorder, steps, place / "woken"), f"{left_out} could be left out"

    return _one_by_one("syncs", range(len(publishing.syncs(recorder.steps))), check)


@cache
def _recorded() -> tuple[Path, Any]:
    from tests.durable import publishing

    with TemporaryDirectory() as place:
        return Path(place), publishing.recorded(Path(place))


def _one_by_one(name: str, cases: Any, check: Callable[[Path, Any], None], each: int = 1) -> Plan:
    """A trial per case; its number is the seed."""

    def trial(seed: int) -> Outcome:
        outcome = Outcome(name, seed, done=each)
        with outcome.judged(), TemporaryDirectory() as place:
            check(Path(place), cases[seed])
        if outcome.failures:
            outcome.failures.insert(0, str(cases[seed]))
        return outcome

    return Plan(trial, each * len(cases), each)


CAMPAIGNS = {
    "starts": Campaign(
        f"groups of {SIZE} starts",
        "simultaneous starts of one experiment: one trains, the others exit with code 4 and name its process",
        _starts,
        alone=True,
    ),
    "states": Campaign(
        "states of the disk",
        "every state in which a disk that keeps what was synced can be after a power loss, while a run "
        "publishes, deletes, links or replaces files: nothing is damaged, and nothing confirmed is lost",
        _states,
    ),
    "syncs": Campaign(
        "syncs left out",
        "the same with one sync left out: the test then finds a state with lost or damaged data",
        _syncs,
    ),
    "corruptions": Campaign(
        "corrupted checkpoints",
        "flipped bits, truncated files, holes of zeros, extra bytes at the end: none is loaded",
        _corruptions,
    ),
    "calls": Campaign(
        "failed durable calls",
        "every call of a run that changes the disk is killed once, and fails once with ENOSPC, EIO and "
        "EACCES; the run then continues to the same bits and metrics",
        _calls,
    ),
    "points": Campaign(
        "failed failpoints",
        "every failpoint that a real `fit` passes in any process is killed once, and fails once with "
        "ENOSPC, EIO and EACCES; the next `fit` ends with the same bits and metrics",
        _points,
    ),
    "chains": Campaign(
        f"chains of {DEPTH + 1} kills",
        f"a controller is killed after it has trained, then {DEPTH} more while they recover, several chains "
        "in one sweep; then everything is compared as for kills",
        _chains,
    ),
    "kills": Campaign(
        "processes killed",
        "SIGKILL of controllers and workers at random moments, half of them during the start, with "
        "successive halving among the runs; then all final weights, all epoch-end metrics and the state of "
        "every run are compared with those of an undisturbed sweep",
        _kills,
    ),
}
