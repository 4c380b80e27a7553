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
from rapidfire_cli.requests import Answer, Outcome, Request, Resume, Stop
from rapidfire_cli.terms import RunState


class Effect(StrEnum):
    """What is to be carried out."""

    STOP = "stop"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer for one run, and what follows from it."""

    answer: Answer
    effect: Effect | None = None


_Ruled: TypeAlias = tuple[Outcome, str, str, Effect | None]
UNKNOWN: _Ruled = ("refused", "does not exist", "`rapidfire status` lists the runs", None)


def decide(request: Request, standings: Mapping[int, Standing]) -> tuple[Ruling, ...]:
    """What the request does, run by run, in its order; a run that it names twice counts once."""
    return tuple(_ruling(request, run, standings.get(run)) for run in dict.fromkeys(request.ask.runs))


def _ruling(request: Request, run: int, standing: Standing | None) -> Ruling:
    outcome, text, hint, effect = UNKNOWN if standing is None else _ruled(request, run, standing)
    return Ruling(Answer(run, outcome, text, hint, changed=effect is not None), effect)


def _ruled(request: Request, run: int, standing: Standing) -> _Ruled:
    if request.if_state not in (None, standing.state):
        return "refused", f"is {standing.state}, not {request.if_state}", "", None
    match request.ask:
        case Stop():
            return _stopped(standing)
        case Resume():
            return _resumed(run, standing)
    assert_never(request.ask)


def _stopped(standing: Standing) -> _Ruled:
    match standing.state:
        case RunState.RUNNING if standing.stopping:
            return "accepted", "already stopping", "", None
        case RunState.RUNNING:
            return "accepted", "stopping", "", Effect.STOP
        case RunState.QUEUED | RunState.INTERRUPTED:
            return "applied", "stopped", "", Effect.STOP
        case RunState.STOPPED:
            return "applied", "already stopped", "", None
        case RunState.COMPLETED | RunState.PRUNED | RunState.FAILED | RunState.DELETED:
            return "refused", f"already {standing.state}", "", None
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
            return "refused", "already completed", "", None
        case RunState.DELETED:
            return "refused", "already deleted", "", None
    assert_never(standing.state)
