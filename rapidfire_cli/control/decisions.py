"""Decide about a request: what it does to each run, or why it does nothing.

Theory of operation. `decide` is a function of the request and of where each run is, free of I/O, so the whole
contract of steering is one table of cases. A ruling says how the request is answered for one run and which
effect, if any, is to be carried out; the process that holds the experiment's lock does that, live or not.

Intent is not state: a run that is being stopped is `stopping` until it is durable, and a run that a signal
interrupted is not a stopped one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias, assert_never

from rapidfire_cli.control.standing import Standing
from rapidfire_cli.requests import (
    AboutRuns,
    Answer,
    CloneRun,
    Delete,
    Keep,
    Outcome,
    Purge,
    Release,
    Request,
    Restore,
    Resume,
    Stop,
    subject,
)
from rapidfire_cli.terms import RunState


class Effect(StrEnum):
    """What is to be carried out."""

    STOP = "stop"
    RESUME = "resume"
    DELETE = "delete"
    RESTORE = "restore"
    PURGE = "purge"
    KEEP = "keep"
    RELEASE = "release"
    CLONE = "clone"


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer for one run, and what follows from it."""

    answer: Answer
    effect: Effect | None = None


_Ruled: TypeAlias = tuple[Outcome, str, str, Effect | None]
UNKNOWN: _Ruled = ("refused", "does not exist", "`rapidfire status` lists the runs", None)


def decide(request: Request, standings: Mapping[int, Standing]) -> tuple[Ruling, ...]:
    """What the request does, run by run, in its order; a run that it names twice counts once."""
    about = subject(request)
    assert about, "an undo is decided about once it is known what it means"
    return tuple(_ruling(request, about, run, standings.get(run)) for run in dict.fromkeys(about.runs))


def _ruling(request: Request, about: AboutRuns, run: int, standing: Standing | None) -> Ruling:
    if standing is None:
        outcome, text, hint, effect = UNKNOWN
    elif request.if_state not in (None, standing.state):
        outcome, text, hint, effect = "refused", f"is {standing.state}, not {request.if_state}", "", None
    else:
        outcome, text, hint, effect = _ruled(about, run, standing)
    return Ruling(Answer(run, outcome, text, hint, changed=effect is not None), effect)


def _ruled(about: AboutRuns, run: int, standing: Standing) -> _Ruled:
    match about:
        case Stop():
            return _stopped(run, standing)
        case Resume():
            return _resumed(run, standing)
        case Delete():
            return _deleted(standing)
        case Restore():
            return _restored(standing)
        case Purge():
            return _purged(run, standing)
        case Keep():
            return _kept(run, standing)
        case Release():
            return "applied", "no longer kept", "", Effect.RELEASE
        case CloneRun():
            return _cloned(about, standing)
    assert_never(about)


def _stopped(run: int, standing: Standing) -> _Ruled:
    match standing.state:
        case RunState.RUNNING if standing.stopping:
            return "accepted", "already stopping", "", None
        case RunState.RUNNING:
            return "accepted", "stopping", "", Effect.STOP
        case RunState.QUEUED | RunState.INTERRUPTED:
            return "applied", "stopped", "", Effect.STOP
        case RunState.STOPPED:
            return "applied", "already stopped", "", None
        case RunState.COMPLETED | RunState.PRUNED | RunState.FAILED:
            return "refused", f"already {standing.state}", "", None
        case RunState.DELETED:
            return _in_the_trash(run)
    assert_never(standing.state)


def _resumed(run: int, standing: Standing) -> _Ruled:
    match standing.state:
        case RunState.RUNNING if standing.stopping:
            return "applied", "no longer stopping", "", Effect.RESUME
        case RunState.RUNNING | RunState.QUEUED | RunState.INTERRUPTED:
            return "applied", "not stopped", "", None
        case RunState.STOPPED | RunState.PRUNED:
            return "applied", "resumed", "", Effect.RESUME
        case RunState.FAILED if standing.replaced_by:
            return "refused", f"was replaced by run {standing.replaced_by}", "", None
        case RunState.FAILED:
            return "applied", "retried from its last good checkpoint", "", Effect.RESUME
        case RunState.COMPLETED:
            hint = f"`rapidfire clone {run} --warm-start --epochs N` trains it on for N epochs"
            return "refused", "already completed", hint, None
        case RunState.DELETED:
            return _in_the_trash(run)
    assert_never(standing.state)


def _deleted(standing: Standing) -> _Ruled:
    match standing.state:
        case RunState.RUNNING if standing.deleting:
            return "accepted", "already stopping, to be deleted", "", None
        case RunState.RUNNING:
            return "accepted", "stopping, then deleted", "", Effect.DELETE
        case RunState.DELETED:
            return "applied", "already deleted", "", None
        case RunState.QUEUED | RunState.INTERRUPTED | RunState.STOPPED:
            return "applied", "deleted", "", Effect.DELETE
        case RunState.COMPLETED | RunState.PRUNED | RunState.FAILED:
            return "applied", "deleted", "", Effect.DELETE
    assert_never(standing.state)


def _restored(standing: Standing) -> _Ruled:
    if standing.deleting:
        return "applied", "stopping, no longer to be deleted", "", Effect.RESTORE
    if standing.state is not RunState.DELETED:
        return "applied", "not deleted", "", None
    if standing.former is None:
        return "refused", "already purged", "", None
    return "applied", f"restored, {standing.former}", "", Effect.RESTORE


def _purged(run: int, standing: Standing) -> _Ruled:
    if standing.state is not RunState.DELETED:
        return "refused", f"is {standing.state}, not deleted", f"`rapidfire delete {run}` comes first", None
    if standing.former is None:
        return "applied", "already purged", "", None
    return "applied", "purged", "", Effect.PURGE


def _kept(run: int, standing: Standing) -> _Ruled:
    if standing.state is RunState.DELETED:
        return _in_the_trash(run)
    return "applied", "kept", "", Effect.KEEP


def _cloned(about: CloneRun, standing: Standing) -> _Ruled:
    if about.warm and standing.state is RunState.DELETED and standing.former is None:
        return "refused", "already purged: its weights are gone", "", None
    return "applied", "cloned", "", Effect.CLONE


def _in_the_trash(run: int) -> _Ruled:
    return "refused", "already deleted", f"`rapidfire restore {run}` brings it back", None
