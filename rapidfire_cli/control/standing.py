"""What requests depend on: where each run is, as a fold over facts."""

from dataclasses import dataclass, replace
from typing import assert_never

from rapidfire_cli.facts import (
    BracketBegun,
    CheckpointDamaged,
    Decision,
    DevicesChanged,
    EpochEnded,
    Fact,
    MemoryGiven,
    RequestTaken,
    RunAdmitted,
    RunChanged,
    RunFailed,
    RunJoined,
    RunLeft,
    RunOpened,
    RunPurged,
    RunReplaced,
    RunsPacked,
    Saved,
    TurnEnded,
    TurnStarted,
    WorkerDied,
    WorkerStarted,
)
from rapidfire_cli.terms import RunState


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one run is."""

    state: RunState = RunState.QUEUED  # RUNNING means that this process trains it
    bracket: int | None = None  # in which it is compared
    stopping: bool = False  # a stop was accepted, and the run is not durable yet
    deleting: bool = False  # after that it is to be deleted
    former: RunState | None = None  # of a deleted run whose files are in the trash
    replaced_by: int | None = None  # the run that took its place when memory ran out


Standings = dict[int, Standing]
"""By run number."""


def learn(standings: Standings, fact: Fact) -> None:
    """Let the standings know one more fact."""
    match fact:
        case EpochEnded() | Saved() | TurnStarted() | TurnEnded() | RunOpened() | RunFailed():
            pass  # most of all facts, so these are looked for first
        case RunAdmitted(run):
            standings[run.number] = Standing()
        case RunChanged(run, state):
            before = standings[run]
            former = before.state if state is RunState.DELETED else None
            standings[run] = replace(before, state=state, stopping=False, deleting=False, former=former)
        case RunPurged(run):
            standings[run] = replace(standings[run], former=None)
        case BracketBegun(bracket, _, runs):
            for run in runs:
                standings[run] = replace(standings[run], bracket=bracket)
        case RunJoined(run, bracket):
            standings[run] = replace(standings[run], bracket=bracket)
        case RunLeft(run):
            standings[run] = replace(standings[run], bracket=None)
        case RunReplaced(run, by, bracket):
            standings[run] = replace(standings[run], bracket=None, replaced_by=by.number)
            if not by.is_apart:
                standings[by.number] = replace(standings[by.number], bracket=bracket)
        case DevicesChanged() | MemoryGiven() | RunsPacked():
            pass
        case Decision() | CheckpointDamaged() | WorkerStarted() | WorkerDied() | RequestTaken():
            pass
        case _:
            assert_never(fact)
