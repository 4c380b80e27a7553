"""What each fact changes in the journal, as statements and their rows."""

import json
from collections.abc import Iterator, Sequence
from typing import TypeAlias, assert_never

from rapidfire_cli.engine.messages import CheckpointDamaged, EpochEnded, RunFailed, RunOpened, Saved
from rapidfire_cli.engine.ports import (
    BracketBegun,
    Fact,
    RunChanged,
    RunLeft,
    RunReplaced,
    TurnOver,
    TurnStarted,
    WorkerDied,
    WorkerStarted,
)
from rapidfire_cli.manifest.codec import spelt
from rapidfire_cli.schedule.ledger import Decision
from rapidfire_cli.store.facts import body, kind
from rapidfire_cli.terms import Run, canonical

Write: TypeAlias = tuple[str, Sequence[tuple[object, ...]]]

EVENT = "INSERT INTO events (at, kind, body) VALUES (?, ?, ?)"
METRIC = """
    INSERT INTO metrics (run, epoch, split, name, step, value) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET step = excluded.step, value = excluded.value"""
SO_FAR = """
    INSERT INTO so_far (run, epoch, step, split, name, value)
    VALUES (?, 1 + ? / (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'chunks'), ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET value = excluded.value"""
PROGRESS = "UPDATE runs SET epoch = max(epoch, ?), step = max(step, ?) WHERE number = ?"
STATE = "UPDATE runs SET state = ?, cause = ? WHERE number = ?"
DURABLE = "UPDATE runs SET durable = ? WHERE number = ?"
OPENED = "UPDATE runs SET code = ?, data = ?, environment = ? WHERE number = ?"
TURN_STARTED = "INSERT INTO turns (run, slot, until, started) VALUES (?, ?, ?, ?)"
TURN_OVER = """
    UPDATE turns SET at = ?, ended = ?
    WHERE rowid = (SELECT max(rowid) FROM turns WHERE run = ?) AND slot = ? AND ended IS NULL"""
TURN_LOST = "UPDATE turns SET ended = ? WHERE slot = ? AND ended IS NULL"

ENROLL = """
    INSERT INTO runs (number, id, "group", config, seed, replicate, epochs, origin)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET listed = 1, "group" = excluded."group" """
BRACKET = "INSERT INTO brackets (number, rule) VALUES (?, ?)"
MEMBER = "UPDATE runs SET bracket = ? WHERE number = ?"


def writes(fact: Fact, now: float) -> Iterator[Write]:
    """The statements that keep `fact`, heard at `now` (seconds since the epoch).

    Each is an event, too, but for turns, of which there may be a hundred to an epoch: their table has all.
    """
    if not isinstance(fact, TurnStarted | TurnOver):
        yield EVENT, [(now, kind(fact), json.dumps(body(fact)))]
    match fact:
        case TurnStarted(run, slot, until):
            yield TURN_STARTED, [(run, slot, until, now)]
        case RunOpened(run, code, data, environment):
            yield OPENED, [(code, data, environment, run)]
        case EpochEnded(run, epoch, step, metrics):
            yield METRIC, [(run, epoch, metric.split, metric.name, step, metric.value) for metric in metrics]
            yield PROGRESS, [(epoch, step, run)]
        case Saved(run, at, _):
            yield DURABLE, [(at, run)]
        case TurnOver(run, slot, at, step, metrics):
            yield TURN_OVER, [(at, now, run, slot)]
            yield SO_FAR, [(run, at, step, metric.split, metric.name, metric.value) for metric in metrics]
            yield PROGRESS, [(0, step, run)]
        case RunChanged(run, state, cause):
            yield STATE, [(state, cause, run)]
        case BracketBegun(bracket, rule, runs):
            yield BRACKET, [(bracket, rule)]
            yield MEMBER, [(bracket, run) for run in runs]
        case RunLeft(run):
            yield MEMBER, [(None, run)]
        case RunReplaced(run, by, bracket):
            yield ENROLL, [row(by, by.leaf["train"]["epochs"])]
            if bracket is not None and not (by.origin and by.origin.apart):
                yield MEMBER, [(None, run), (bracket, by.number)]
        case WorkerDied(slot, _):
            yield TURN_LOST, [(now, slot)]
        case WorkerStarted() | CheckpointDamaged() | Decision() | RunFailed():
            pass
        case _:
            assert_never(fact)


def row(run: Run, epochs: int) -> tuple[object, ...]:
    """The run, so many epochs long, as ENROLL takes it."""
    origin = canonical(spelt(run.origin)) if run.origin else None
    return (run.number, run.id, run.group, run.config, run.seed, run.replicate, epochs, origin)
