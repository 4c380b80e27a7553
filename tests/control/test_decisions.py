"""The contract of steering as a table: what a request does to a run in each state."""

import pytest

from rapidfire_cli.control.decisions import Effect, decide
from rapidfire_cli.control.standing import Standing
from rapidfire_cli.requests import (
    Answer,
    Ask,
    CloneRun,
    Delete,
    Keep,
    Purge,
    Release,
    Request,
    Restore,
    Resume,
    Stop,
)
from rapidfire_cli.terms import RunState

UUID = "00000000-0000-4000-8000-000000000000"
QUEUED, RUNNING, INTERRUPTED = RunState.QUEUED, RunState.RUNNING, RunState.INTERRUPTED
STOPPED, COMPLETED, PRUNED = RunState.STOPPED, RunState.COMPLETED, RunState.PRUNED
FAILED, DELETED = RunState.FAILED, RunState.DELETED
STOPPING = Standing(RUNNING, stopping=True)

STOPS = [
    (Standing(RUNNING), "accepted", "stopping", Effect.STOP),
    (STOPPING, "accepted", "already stopping", None),
    (Standing(QUEUED), "applied", "stopped", Effect.STOP),
    (Standing(INTERRUPTED), "applied", "stopped", Effect.STOP),
    (Standing(STOPPED), "applied", "already stopped", None),
    (Standing(COMPLETED), "refused", "already completed", None),
    (Standing(PRUNED), "refused", "already pruned", None),
    (Standing(FAILED), "refused", "already failed", None),
    (Standing(DELETED), "refused", "already deleted", None),
]
RESUMES = [
    (STOPPING, "applied", "no longer stopping", Effect.RESUME),
    (Standing(RUNNING), "applied", "not stopped", None),
    (Standing(QUEUED), "applied", "not stopped", None),
    (Standing(INTERRUPTED), "applied", "not stopped", None),
    (Standing(STOPPED), "applied", "resumed", Effect.RESUME),
    (Standing(PRUNED, bracket=1), "applied", "resumed", Effect.RESUME),
    (Standing(FAILED), "applied", "retried from its last good checkpoint", Effect.RESUME),
    (Standing(FAILED, replaced_by=9), "refused", "was replaced by run 9", None),
    (Standing(COMPLETED), "refused", "already completed", None),
    (Standing(DELETED), "refused", "already deleted", None),
]
DELETES = [
    (Standing(RUNNING), "accepted", "stopping, then deleted", Effect.DELETE),
    (STOPPING, "accepted", "stopping, then deleted", Effect.DELETE),
    (Standing(RUNNING, stopping=True, deleting=True), "accepted", "already stopping, to be deleted", None),
    *(
        (Standing(state), "applied", "deleted", Effect.DELETE)
        for state in (QUEUED, INTERRUPTED, STOPPED, COMPLETED, PRUNED, FAILED)
    ),
    (Standing(DELETED, former=FAILED), "applied", "already deleted", None),
]
RESTORES = [
    (Standing(DELETED, former=FAILED), "applied", "restored, failed", Effect.RESTORE),
    (Standing(DELETED), "refused", "already purged", None),
    (
        Standing(RUNNING, stopping=True, deleting=True),
        "applied",
        "stopping, no longer to be deleted",
        Effect.RESTORE,
    ),
    *((Standing(state), "applied", "not deleted", None) for state in RunState if state is not DELETED),
]
PURGES = [
    (Standing(DELETED, former=FAILED), "applied", "purged", Effect.PURGE),
    (Standing(DELETED), "applied", "already purged", None),
    *(
        (Standing(state), "refused", f"is {state}, not deleted", None)
        for state in RunState
        if state is not DELETED
    ),
]
CLONES = [
    *((Standing(state), "applied", "cloned", Effect.CLONE) for state in RunState if state is not DELETED),
    (Standing(DELETED, former=FAILED), "applied", "cloned", Effect.CLONE),
    (Standing(DELETED), "refused", "already purged: its weights are gone", None),
]
KEEPS = [
    *((Standing(state), "applied", "kept", Effect.KEEP) for state in RunState if state is not DELETED),
    (Standing(DELETED, former=FAILED), "refused", "already deleted", None),
]
CASES = [(Stop((3,)), *case) for case in STOPS] + [(Resume((3,)), *case) for case in RESUMES]
CASES += [(Delete((3,)), *case) for case in DELETES] + [(Restore((3,)), *case) for case in RESTORES]
CASES += [(Purge((3,)), *case) for case in PURGES]
CASES += [(Keep((3,)), *case) for case in KEEPS]
CASES += [(Release((3,)), Standing(state), "applied", "no longer kept", Effect.RELEASE) for state in RunState]
CASES += [(CloneRun((3,), warm="all"), *case) for case in CLONES]


def request(ask: Ask, if_state: RunState | None = None) -> Request:
    return Request(UUID, "cli", ask, if_state)


@pytest.mark.parametrize(("ask", "standing", "outcome", "text", "effect"), CASES)
def test_what_a_request_does_depends_on_where_the_run_is(ask, standing, outcome, text, effect):
    [ruling] = decide(request(ask), {3: standing})
    assert (ruling.answer.outcome, ruling.answer.text, ruling.effect) == (outcome, text, effect)
    assert ruling.answer.changed is (effect is not None)


def test_a_run_that_does_not_exist_is_refused_and_the_others_are_not():
    rulings = decide(request(Stop((1, 2))), {2: Standing(QUEUED)})
    assert [ruling.answer.outcome for ruling in rulings] == ["refused", "applied"]


def test_a_purged_run_can_be_cloned_from_scratch():
    [ruling] = decide(request(CloneRun((3,))), {3: Standing(DELETED)})
    assert ruling.effect is Effect.CLONE


def test_a_run_that_is_named_twice_counts_once():
    assert len(decide(request(Stop((2, 2))), {2: Standing(QUEUED)})) == 1


def test_if_state_refuses_runs_in_another_state():
    [ruling] = decide(request(Stop((3,)), RUNNING), {3: Standing(QUEUED)})
    assert ruling.answer == Answer(3, "refused", "is queued, not running")
    [ruling] = decide(request(Stop((3,)), RUNNING), {3: Standing(RUNNING)})
    assert ruling.effect is Effect.STOP


def test_every_state_is_a_case_of_every_verb():
    for kind in (Stop, Resume, Delete, Restore, Purge, Keep, Release, CloneRun):
        assert {case[1].state for case in CASES if isinstance(case[0], kind)} == {*RunState}
