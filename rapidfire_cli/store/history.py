"""The ledger of early stopping: what brackets heard and decided, in the order of the journal."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, assert_never

from rapidfire_cli.engine.driver import compared_value
from rapidfire_cli.engine.ports import BracketBegun, RunLeft
from rapidfire_cli.stopping import bracket as heard
from rapidfire_cli.stopping.bracket import BracketEvent, RunLost
from rapidfire_cli.stopping.decision import Decision, Verdict
from rapidfire_cli.store.connection import begun, reader
from rapidfire_cli.terms import RunState, Split

EVENTS = """
    SELECT kind, body FROM events
    WHERE kind IN ('bracket_begun', 'epoch_ended', 'run_changed', 'run_left', 'run_replaced', 'decision')
    ORDER BY seq"""


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """A run finished an epoch."""

    run: int
    epoch: int
    metrics: Mapping[Split, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Failed:
    """A run failed."""

    run: int


@dataclass(frozen=True, slots=True)
class RunReplaced:
    """Another run took a run's place, in the bracket or apart from it."""

    run: int
    by: int
    bracket: int | None  # of the run
    apart: bool


Past: TypeAlias = BracketBegun | EpochEnded | Failed | RunReplaced | RunLeft | Decision


def history(journal: Path) -> tuple[Past, ...]:
    """Everything that early stopping may have heard, and what came of it; nothing without a journal."""
    if not journal.is_file():
        return ()
    with reader(journal) as db:
        if not begun(db):
            return ()
        told = [_past(kind, json.loads(body)) for kind, body in db.execute(EVENTS)]
    return tuple(past for past in told if past)


def by_bracket(past: Sequence[Past]) -> dict[int, list[Past]]:
    """What concerns each bracket or a run that is or was in it, in the order of the journal."""
    homes: dict[int, set[int]] = {}  # brackets by run
    for event in past:
        match event:
            case BracketBegun(bracket, _, runs):
                for run in runs:
                    homes.setdefault(run, set()).add(bracket)
            case RunReplaced(run, by):
                homes.setdefault(by, set()).update(homes.get(run, ()))
            case EpochEnded() | Failed() | RunLeft() | Decision():
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
        case BracketBegun(bracket) | RunLeft(_, bracket) | Decision(bracket):
            return (bracket,)
        case EpochEnded(run) | Failed(run) | RunReplaced(run):
            return homes.get(run, ())
    assert_never(event)


def bracket_events(began: BracketBegun, metric: str, past: Sequence[Past]) -> Iterator[BracketEvent]:
    """What the bracket hears of its past, in its order, when it compares by `metric`.

    A failed run is tried again, and its failure forgotten, unless the bracket has counted it or another run
    was begun in its place.
    """
    counted = _counted_failures(began.bracket, past)
    runs = set(goals(began, past))
    for index, event in enumerate(past):
        match event:
            case RunReplaced(run, by, began.bracket, apart):
                yield RunLost(run, failed=True) if apart else heard.RunReplaced(run, by)
            case EpochEnded(run, epoch, metrics) if run in runs:
                yield heard.EpochEnded(run, epoch, compared_value(metrics, metric))
            case Failed(run) if index in counted:
                yield RunLost(run, failed=True)
            case RunLeft(run, began.bracket, worst=worst):
                runs.discard(run)  # it may finish an epoch yet
                yield RunLost(run, failed=worst)
            case BracketBegun() | RunReplaced() | EpochEnded() | Failed() | RunLeft() | Decision():
                pass
            case _:
                assert_never(event)


def goals(began: BracketBegun, past: Sequence[Past]) -> dict[int, int]:
    """The epochs of every run that stands, or once stood, in the bracket."""
    found = began.goals
    for event in past:
        if isinstance(event, RunReplaced) and event.bracket == began.bracket and not event.apart:
            found[event.by] = found[event.run]
    return found


def _counted_failures(bracket: int, past: Sequence[Past]) -> set[int]:
    """Where in the past those failures stand that a decision of the bracket has counted."""
    last: dict[int, int] = {}
    counted: set[int] = set()
    gone: set[int] = set()  # these are lost where they were replaced, or left
    for index, event in enumerate(past):
        match event:
            case Failed(run):
                last[run] = index
            case RunReplaced(run):
                gone.add(run)
            case RunLeft(run, left) if left == bracket:
                gone.add(run)
            case Decision() if event.bracket == bracket:
                counted.update(last[run] for run in event.failed if run not in gone)
            case BracketBegun() | EpochEnded() | RunLeft() | Decision():
                pass
            case _:
                assert_never(event)
    return counted


def _past(kind: str, body: Mapping[str, Any]) -> Past | None:
    match kind:
        case "bracket_begun":
            return BracketBegun(body["bracket"], body["rule"], tuple(body["runs"]), tuple(body["epochs"]))
        case "epoch_ended":
            return EpochEnded(body["run"], body["epoch"], _metrics(body["metrics"]))
        case "run_replaced":
            by = body["by"]
            return RunReplaced(body["run"], by["number"], body["bracket"], by["origin"].get("apart", False))
        case "run_left":
            return RunLeft(**body)
        case "decision":
            return _decision(body)
        case _ if body["state"] == RunState.FAILED:
            return Failed(body["run"])
    return None


def _metrics(splits: Mapping[Split, Mapping[str, float | str]]) -> dict[Split, dict[str, float]]:
    return {split: {name: float(value) for name, value in named.items()} for split, named in splits.items()}


def _decision(body: Mapping[str, Any]) -> Decision:
    verdicts = tuple(
        Verdict(**{**verdict, "value": _number(verdict["value"])}) for verdict in body["verdicts"]
    )
    return Decision(
        **{**body, "cut": _number(body["cut"]), "verdicts": verdicts, "failed": tuple(body["failed"])}
    )


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)
