"""The ledger of early stopping: the results and decisions of brackets, in the order of the journal."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, assert_never, cast

from rapidfire_cli.facts import (
    BracketBegun,
    Decision,
    EpochEnded,
    Fact,
    RunChanged,
    RunJoined,
    RunLeft,
    RunReplaced,
)
from rapidfire_cli.stopping.bracket import BracketEvent
from rapidfire_cli.store.connection import begun, reader
from rapidfire_cli.store.facts import fact
from rapidfire_cli.terms import RunState

EVENTS = """
    SELECT kind, body FROM events
    WHERE kind IN (
        'bracket_begun', 'epoch_ended', 'run_changed', 'run_joined', 'run_left', 'run_replaced', 'decision')
    ORDER BY seq"""
DECIDED = """
    SELECT kind, body FROM events
    WHERE kind IN ('bracket_begun', 'run_joined', 'run_left', 'run_replaced', 'decision') ORDER BY seq"""

Ledger: TypeAlias = BracketBegun | RunJoined | RunReplaced | RunLeft | Decision
"""What brackets are made of, and what they decided."""

Past: TypeAlias = Ledger | EpochEnded | RunChanged
"""The facts that early stopping is about; of changes, only that a run failed."""


def history(journal: Path) -> tuple[Past, ...]:
    """All results and decisions of early stopping, in order; empty without a journal."""
    if not journal.is_file():
        return ()
    with reader(journal) as db:
        if not begun(db):
            return ()
        told = [fact(kind, json.loads(body)) for kind, body in db.execute(EVENTS)]
    return tuple(cast("Past", each) for each in told if not _is_no_failure(each))


def ledger(journal: Path) -> tuple[Ledger, ...]:
    """Every bracket and decision, in order, without the results that they followed from.

    Raises Refusal where nothing can be read.
    """
    with reader(journal) as db:
        return tuple(cast("Ledger", fact(kind, json.loads(body))) for kind, body in db.execute(DECIDED))


def _is_no_failure(fact: Fact) -> bool:
    return isinstance(fact, RunChanged) and fact.state is not RunState.FAILED


def by_bracket(past: Sequence[Past]) -> dict[int, list[Past]]:
    """What concerns each bracket or a run that is or was in it, in the order of the journal."""
    homes: dict[int, set[int]] = {}  # brackets by run
    for event in past:
        match event:
            case BracketBegun(bracket, _, runs):
                for run in runs:
                    homes.setdefault(run, set()).add(bracket)
            case RunJoined(run, bracket):
                homes.setdefault(run, set()).add(bracket)
            case RunReplaced(run, by):
                homes.setdefault(by.number, set()).update(homes.get(run, ()))
            case EpochEnded() | RunChanged() | RunLeft() | Decision():
                pass
            case _:
                assert_never(event)
    found: dict[int, list[Past]] = {}
    for event in past:
        for bracket in _concerned(event, homes):
            found.setdefault(bracket, []).append(event)
    return found


def _concerned(event: Past, homes: Mapping[int, set[int]]) -> Collection[int]:
    match event:
        case BracketBegun(bracket) | RunJoined(_, bracket) | RunLeft(_, bracket) | Decision(bracket):
            return (bracket,)
        case EpochEnded(run) | RunChanged(run) | RunReplaced(run):
            return homes.get(run, ())
    assert_never(event)


def bracket_events(began: BracketBegun, past: Sequence[Past]) -> Iterator[BracketEvent]:
    """The recorded events of one bracket, in order.

    A failed run is tried again, and its failure forgotten, unless the bracket has counted it or another run
    was begun in its place.
    """
    counted = _counted_failures(began.bracket, past)
    runs = set(goals(began, past))
    for index, event in enumerate(past):
        match event:
            case RunReplaced(bracket=began.bracket) | RunJoined(bracket=began.bracket):
                yield event
            case EpochEnded(run) if run in runs:
                yield event
            case RunChanged() if index in counted:
                yield event
            case RunLeft(run, began.bracket):
                runs.discard(run)  # it may finish an epoch yet
                yield event
            case BracketBegun() | RunReplaced() | EpochEnded() | RunChanged() | Decision():
                pass
            case RunJoined() | RunLeft():
                pass
            case _:
                assert_never(event)


def goals(began: BracketBegun, past: Sequence[Past]) -> dict[int, int]:
    """The epochs of every run that is or was in the bracket."""
    found = began.goals
    for event in past:
        if isinstance(event, RunJoined) and event.bracket == began.bracket:
            found[event.run] = event.epochs
        if isinstance(event, RunReplaced) and event.bracket == began.bracket and not is_apart(event):
            found[event.by.number] = found[event.run]
    return found


def is_apart(replaced: RunReplaced) -> bool:
    """Whether the other run trains outside the bracket of the one whose place it takes."""
    return replaced.by.is_apart


def _counted_failures(bracket: int, past: Sequence[Past]) -> set[int]:
    """The positions of failures that a decision of the bracket has counted."""
    last: dict[int, int] = {}
    counted: set[int] = set()
    gone: set[int] = set()  # these are lost where they were replaced, or left
    for index, event in enumerate(past):
        match event:
            case RunChanged(run):
                last[run] = index
            case RunReplaced(run):
                gone.add(run)
            case RunLeft(run, left) if left == bracket:
                gone.add(run)
            case Decision() if event.bracket == bracket:
                counted.update(last[run] for run in event.failed if run not in gone)
            case BracketBegun() | EpochEnded() | RunJoined() | RunLeft() | Decision():
                pass
            case _:
                assert_never(event)
    return counted
