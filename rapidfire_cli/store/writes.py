"""What each fact changes in the journal, as statements and their rows.

Facts are committed together, and running a statement costs more than a row of it. So a commit runs each
statement once, with the rows of all facts, in ORDER, and EVENT last. The result is as if fact by fact: rows
are inserted before they are updated, no two statements write the same column, and rows of one statement keep
their order.
"""

import json
from collections.abc import Iterator
from itertools import count
from typing import TypeAlias, assert_never

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
from rapidfire_cli.manifest.codec import spelt, spelt_warm
from rapidfire_cli.requests import encode
from rapidfire_cli.store.facts import body, kind
from rapidfire_cli.terms import Run, canonical

Row: TypeAlias = "tuple[object, ...] | dict[str, object]"

EVENT = """
    INSERT INTO events (at, kind, body)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
    FROM json_each(?)"""
"""All events of a commit as one JSON list, because encoding each by itself takes several times as long."""
METRIC = """
    INSERT INTO metrics (run, epoch, split, name, step, value) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET step = excluded.step, value = excluded.value"""
SO_FAR = """
    INSERT INTO so_far (run, epoch, step, split, name, value)
    VALUES (?, 1 + ? / (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'chunks'), ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET value = excluded.value"""
PROGRESS = "UPDATE runs SET epoch = max(epoch, ?), step = max(step, ?) WHERE number = ?"
STATE = """
    UPDATE runs SET state = :state, former = CASE WHEN :state = 'deleted' THEN state END,
      cause = CASE WHEN :state = 'deleted' OR state = 'deleted' THEN cause ELSE :cause END
    WHERE number = :run"""
PURGED = "UPDATE runs SET former = NULL WHERE number = ?"
DURABLE = "UPDATE runs SET durable = ? WHERE number = ?"
OPENED = "UPDATE runs SET code = ?, data = ?, environment = ? WHERE number = ?"
TURN_STARTED = "INSERT INTO turns (rowid, run, slot, until, started) VALUES (?, ?, ?, ?, ?)"
TURN_ENDED = "UPDATE turns SET at = ?, ended = ? WHERE rowid = ?"
PACKED = "INSERT OR REPLACE INTO meta VALUES ('packing', ?)"
REQUEST = "INSERT OR IGNORE INTO requests (id, at, body, answers) VALUES (?, ?, ?, ?)"
LAST_TURN = "SELECT ifnull(max(rowid), 0) FROM turns"

ENROLL = """
    INSERT INTO runs (number, id, "group", config, seed, replicate, epochs, origin, warm_start)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET listed = 1, "group" = excluded."group" """
BRACKET = "INSERT INTO brackets (number, rule) VALUES (?, ?)"
MEMBER = "UPDATE runs SET bracket = ? WHERE number = ?"

ORDER = (
    *(ENROLL, BRACKET, MEMBER, OPENED, STATE, PURGED, PROGRESS, DURABLE),
    *(METRIC, SO_FAR, TURN_STARTED, TURN_ENDED, PACKED, REQUEST),
)


class Turns:
    """The rows of the turns under way, by slot."""

    def __init__(self, last: int) -> None:
        self._free = count(last + 1)
        self._rows: dict[int, int] = {}

    def begin(self, slot: int) -> int:
        """The row for a turn that starts there."""
        self._rows[slot] = next(self._free)
        return self._rows[slot]

    def end(self, slot: int) -> int | None:
        """The row of the turn that was under way there, if there was one."""
        return self._rows.pop(slot, None)


def writes(fact: Fact, now: float, turns: Turns) -> Iterator[tuple[str, Row]]:
    """The SQL statements, each with a row, that store `fact` at `now` (seconds since the epoch).

    Each is an event, too, but for requests and for turns, of which there may be a hundred to an epoch: their
    tables have all.
    """
    if not isinstance(fact, TurnStarted | TurnEnded | RequestTaken):
        yield EVENT, (now, kind(fact), body(fact))
    match fact:
        case TurnStarted(run, slot, until):
            yield TURN_STARTED, (turns.begin(slot), run, slot, until, now)
        case RunOpened(run, code, data, environment):
            yield OPENED, (code, data, environment, run)
        case EpochEnded(run, epoch, step, metrics):
            yield from ((METRIC, (run, epoch, one.split, one.name, step, one.value)) for one in metrics)
            yield PROGRESS, (epoch, step, run)
        case Saved(run, at, _):
            yield DURABLE, (at, run)
        case TurnEnded(run, slot, at, step, metrics):
            yield TURN_ENDED, (at, now, turns.end(slot))
            yield from ((SO_FAR, (run, at, step, one.split, one.name, one.value)) for one in metrics)
            yield PROGRESS, (0, step, run)
        case RunChanged(run, state, cause):
            yield STATE, {"state": state, "cause": cause, "run": run}
        case BracketBegun(bracket, rule, runs):
            yield BRACKET, (bracket, rule)
            yield from ((MEMBER, (bracket, run)) for run in runs)
        case RunJoined(run) | RunLeft(run):
            yield MEMBER, (fact.bracket if isinstance(fact, RunJoined) else None, run)
        case RunAdmitted(run):
            yield ENROLL, row(run, run.leaf["train"]["epochs"])
        case RunReplaced(run, by, bracket):
            if bracket is not None and not by.is_apart:
                yield from ((MEMBER, (None, run)), (MEMBER, (bracket, by.number)))
        case RunPurged(run):
            yield PURGED, (run,)
        case RequestTaken(request, answers):
            yield REQUEST, (request.id, now, encode(request), encode(answers))
        case WorkerDied(slot, _):
            yield TURN_ENDED, (None, now, turns.end(slot))
        case RunsPacked():
            yield PACKED, (json.dumps(body(fact)),)
        case (
            WorkerStarted()
            | MemoryGiven()
            | CheckpointDamaged()
            | DevicesChanged()
            | Decision()
            | RunFailed()
        ):
            pass
        case _:
            assert_never(fact)


def row(run: Run, epochs: int) -> tuple[object, ...]:
    """The row of a run for ENROLL."""
    origin = canonical(spelt(run.origin)) if run.origin else None
    warm = canonical(spelt_warm(run.warm_start)) if run.warm_start else None
    return (run.number, run.id, run.group, run.config, run.seed, run.replicate, epochs, origin, warm)
