"""What a tab is sent while it is open: a snapshot, then what changed, at most four times a second.

Theory of operation
-------------------
Every tab has a `Follower`, which knows what the tab has seen. `step` looks whether a process trains the
experiment and asks the feed what was recorded, which takes microseconds where nothing was; only the runs that
something happened to are read. The id of each message is the `seq` of the last event in it: a tab that
reconnects names it and gets what it missed. `look` does the same where it is time: while runs train, messages
are as seldom as `view/pace.py` says, unless a fit begins or ends.

A tab gets a snapshot again where a change would not do: the journal has become another file, a fit began or
ended, a request changed an experiment at rest, too much was missed, or a run was born whose knobs may give
the others a column.

A journal that cannot be read is a message, too, so the page always shows what it waits for.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import assert_never

from rapidfire_cli.durable.lock import is_held
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
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.store.feed import Feed, News, Replaced, latest_turns
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import overview
from rapidfire_cli.store.requests_taken import requests_count
from rapidfire_cli.store.series import Point
from rapidfire_cli.terms import Plain, Proposal
from rapidfire_cli.view.findings import problem_record
from rapidfire_cli.view.knob_columns import varied
from rapidfire_cli.view.pace import Allowance
from rapidfire_cli.view.page.snapshot import Position, document

LOOK = 0.2  # seconds between two looks at the journal
GLANCE = 1.0  # seconds between two looks at the lock, at most, while it is too early for a message
PAUSE = 0.25  # seconds between two messages, at least
BEAT = 15.0  # seconds without a message after which a comment shows that the connection lives
MOST_EVENTS = 5_000  # that a tab is told one by one when it reconnects (assumed)
UNREADABLE = "E503"


@dataclass(frozen=True, slots=True)
class Sent:
    """A message: `snapshot`, `delta`, `empty` (no experiment yet) or `problem`."""

    kind: str
    id: int  # the seq of the last event
    data: dict[str, Plain]

    def encoded(self) -> str:
        """The message as a server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
        data = json.dumps(self.data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return f"id: {self.id}\nevent: {self.kind}\ndata: {data}\n\n"


class Follower:
    """Follows the experiment for one tab; one call at a time."""

    def __init__(
        self, find: Callable[[], ExperimentDir | None], journal: str = "", seq: int = 0, live: bool = False
    ) -> None:
        """`find` returns the experiment once there is one; the others say what the tab has seen.

        `live` is whether the experiment was being trained then.
        """
        self._find = find
        self._seen = (journal, seq)
        self._live = live
        self._home: ExperimentDir | None = None  # where it last looked
        self._feed: Feed | None = None
        self._alive = False
        self._allowance = Allowance()
        self._due = 0.0  # when the next message may come
        self._said: Sent | None = None  # the last message, where nothing could be read
        self._requests = 0
        self._slots: dict[int, int] = {}  # the runs that train now

    async def messages(self) -> AsyncIterator[str]:
        """Every message as it comes, encoded; comments where nothing comes for a while."""
        from anyio import to_thread  # it comes with starlette

        sent = 0.0
        try:
            yield "event: hello\ndata:\n\n"  # at once, as the first message may take a while to read
            while True:
                if (found := await to_thread.run_sync(self.look)) is not None:
                    sent = time.monotonic()
                    yield found.encoded()
                elif time.monotonic() - sent > BEAT:
                    sent = time.monotonic()
                    yield ": nothing new\n\n"
                await asyncio.sleep(min(max(LOOK, self._due - time.monotonic()), GLANCE))
        finally:
            self.close()

    def look(self) -> Sent | None:
        """The next message, None where nothing changed or it is too early for one."""
        if time.monotonic() < self._due and not self._turned():
            return None
        began = time.thread_time()
        if (found := self.step()) is not None:
            now, spent = time.monotonic(), time.thread_time() - began
            self._due = now + (self._allowance.pause(spent, PAUSE, now) if self._alive else PAUSE)
        return found

    def _turned(self) -> bool:
        """Whether a fit has begun or ended since the last message, or that cannot be told."""
        try:
            return self._home is not None and is_held(self._home.lock) != self._alive
        except OSError:
            return True

    def step(self) -> Sent | None:
        """The next message, None where nothing changed."""
        found = self._next()
        if found is not None and found.kind in ("empty", "problem"):
            self.close()
            self._seen = ("", 0)  # what comes next is everything
            if found == self._said:
                return None
        if found is not None:
            self._said = found
        return found

    def close(self) -> None:
        """Close the journal."""
        if self._feed:
            self._feed.close()
        self._feed = None

    def _next(self) -> Sent | None:
        home = self._home = self._find()
        if home is None or not home.path.is_dir():
            return Sent("empty", 0, {})
        try:
            return self._changed(home) if self._feed else self._begun(home)
        except Replaced:
            self.close()
            return self._next()
        except FileNotFoundError:
            return Sent("empty", 0, {})
        except Refusal as refusal:
            return _problem(*refusal.problems)
        except OSError as error:
            return _problem(Problem(UNREADABLE, f"cannot read {home.journal}: {error.strerror or error}"))

    def _begun(self, home: ExperimentDir) -> Sent | None:
        """The first message, or the first after the journal became another one."""
        if not home.journal.exists() and not home.runs.is_dir():
            return Sent("empty", 0, {})
        self._alive = is_held(home.lock)
        self._feed = Feed(home.journal)
        name, seq = self._seen
        if name != _name(home) or self._live != self._alive:
            return self._snapshot(home, self._feed)
        if not self._alive and self._feed.seq == seq:
            self._learn(home)
            return None
        if self._alive and 0 <= self._feed.seq - seq <= MOST_EVENTS:
            self._feed.close()
            self._feed = Feed(home.journal, after=seq)
            self._learn(home)
            return self._delta(home, self._feed, self._feed.look() or News((), (), ()))
        return self._snapshot(home, self._feed)

    def _changed(self, home: ExperimentDir) -> Sent | None:
        assert self._feed
        alive = is_held(home.lock)  # before the journal is read, so that no end is missed
        began, self._alive = alive != self._alive, alive
        new = self._feed.look()
        if began or (new is not None and not alive):
            return self._snapshot(home, self._feed)
        return None if new is None else self._delta(home, self._feed, new)

    def _snapshot(self, home: ExperimentDir, feed: Feed) -> Sent:
        """Everything about all runs."""
        self._learn(home)
        self._seen, self._live = (_name(home), feed.seq), self._alive
        seen = overview(home.journal, self._alive, unlisted=True)
        found = document(seen, self._position(feed), varied(seen))
        return Sent("snapshot", feed.seq, {**found, "journal": self._seen[0]})

    def _delta(self, home: ExperimentDir, feed: Feed, new: News) -> Sent:
        """What happened while the experiment trains."""
        told = [event.fact for event in new.events]
        if any(map(_changes_columns, told)):
            return self._snapshot(home, feed)
        left = {*self._slots.values()}
        for turn in new.turns:
            if turn.ended is None:
                self._slots[turn.slot] = turn.run
            elif self._slots.get(turn.slot) == turn.run:
                del self._slots[turn.slot]
        self._requests += len(new.requests)
        self._seen = (self._seen[0], feed.seq)
        runs = {*left, *self._slots.values(), *(turn.run for turn in new.turns), *_runs(told)}
        seen = overview(home.journal, self._alive, unlisted=True, only=runs)
        found = document(seen, self._position(feed), seen.metadata.varied, _points(told))
        return Sent("delta", feed.seq, found)

    def _learn(self, home: ExperimentDir) -> None:
        """Read the counts that later changes only update."""
        self._requests = requests_count(home.journal)
        self._slots = {turn.slot: turn.run for turn in latest_turns(home.journal) if turn.ended is None}

    def _position(self, feed: Feed) -> Position:
        """Runs are on slots only while a process trains them."""
        return Position(feed.seq, self._requests, {*self._slots.values()} if self._alive else ())


def _name(home: ExperimentDir) -> str:
    """The inode of the journal's file: another file has another name; empty where there is none."""
    with suppress(OSError):
        return f"{home.journal.stat().st_ino:x}"
    return ""


def _problem(*problems: Problem) -> Sent:
    return Sent("problem", 0, {"problems": [problem_record(each) for each in problems]})


def _changes_columns(fact: Fact) -> bool:
    """Whether a run was born that may change how others are shown."""
    admitted = isinstance(fact, RunAdmitted) and not isinstance(fact.run.origin, Proposal)
    return admitted or isinstance(fact, RunReplaced)


def _runs(told: Iterable[Fact]) -> Iterator[int]:
    """The runs that these facts are about."""
    for fact in told:
        match fact:
            case RunAdmitted(run):
                yield run.number
            case Decision():
                yield from (verdict.run for verdict in fact.verdicts)
            case WorkerDied():
                yield from () if fact.run is None else (fact.run,)
            case WorkerStarted() | RunsPacked() | BracketBegun() | RequestTaken():
                pass
            case DevicesChanged() | MemoryGiven():
                yield fact.run
            case TurnStarted() | RunOpened() | EpochEnded() | Saved() | CheckpointDamaged() | TurnEnded():
                yield fact.run
            case RunFailed() | RunChanged() | RunReplaced() | RunPurged() | RunJoined() | RunLeft():
                yield fact.run
            case _:
                assert_never(fact)


def _points(told: Iterable[Fact]) -> Iterator[Point]:
    for fact in told:
        if isinstance(fact, EpochEnded):
            for each in fact.metrics:
                yield Point(fact.run, fact.epoch, fact.step, each.split, each.name, each.value)
