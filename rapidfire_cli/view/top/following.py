"""Keep `Watched` up to date: read everything once, then only what is new.

A journal that goes wrong while it is followed is a state that the app shows, not an error that ends it: the
experiment may be removed or replaced by another one, the file damaged, the controller killed.
"""

import sqlite3
from dataclasses import dataclass, field
from time import monotonic

from rapidfire_cli.durable.lock import is_held
from rapidfire_cli.problems import Refusal, brief
from rapidfire_cli.store.feed import Feed, Replaced, latest_turns, workers
from rapidfire_cli.store.history import ledger
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import overview
from rapidfire_cli.view.top.watched import Told, Watched, watched

SOON, LATE = 5, 50  # looks until a journal that is missing, or that cannot be read, is tried again (assumed)


@dataclass(slots=True)
class Following:
    """Follows one experiment; `look` is called some times a second, by one thread at a time."""

    home: ExperimentDir
    known: Watched | None = None  # None until it could be read
    trouble: str = ""  # why nothing newer is known
    told: list[Told] = field(default_factory=list)  # what happened, the latest last
    version: int = 0  # grows with everything that is new
    _feed: Feed | None = None
    _rest: int = 0  # looks to skip
    _after: int | None = None  # the event to follow on from where the same journal is read again

    def read(self) -> None:
        """Read everything. What cannot be read leaves what was known, and `trouble` says why."""
        self.close()
        try:
            feed = Feed(self.home.journal, self._after)
            try:
                seen = overview(self.home.journal, alive=True)
                journal, alive, since = self.home.journal, *_holder(self.home)
                turns = latest_turns(journal)
                self.known = watched(seen, alive, ledger(journal), workers(journal, since), turns)
            except BaseException:
                feed.close()
                raise
            self._feed, self.trouble = feed, ""
        except Refusal as refusal:
            self._fail("; ".join(map(brief, refusal.problems)))
        except FileNotFoundError:
            self._fail(f"{self.home.journal} is missing", SOON)
        except (OSError, sqlite3.Error) as error:
            self._fail(f"cannot read the journal: {error}")
        self.version += 1

    @property
    def turned(self) -> bool:
        """Whether a fit has begun or ended since the last look, or nothing is followed."""
        return self._feed is None or self.known is None or _holder(self.home)[0] != self.known.alive

    @property
    def is_due(self) -> bool:
        """Whether it is time to read everything again; call it once per look."""
        if self._feed is not None:
            return False
        self._rest = max(0, self._rest - 1)
        return not self._rest

    def look(self) -> bool:
        """Read what is new, and return whether anything is."""
        if self._feed is None or self.known is None:
            return False
        before = self.version
        alive, _ = _holder(self.home)
        if alive != self.known.alive:  # a fit has begun, or the one that trained has ended or was killed
            self.known.alive = alive
            self._stop_following(self._feed.seq)
            return True
        try:
            if news := self._feed.look():
                self.told += self.known.take(news, monotonic())
                self.version += 1
        except Replaced:
            self._stop_following()
        except Refusal as refusal:
            self._fail("; ".join(map(brief, refusal.problems)))
        except OSError as error:
            self._fail(f"cannot read the journal: {error}")
        if self.known.stale and self._feed:
            self._stop_following(self._feed.seq)
        return self.version != before

    def close(self) -> None:
        """Close the journal."""
        if self._feed is not None:
            self._feed.close()
        self._feed = None

    def _stop_following(self, after: int | None = None) -> None:
        """Read everything again at the next occasion, and tell what happened after this event."""
        self.close()
        self._rest, self._after = 0, after
        self.version += 1

    def _fail(self, trouble: str, rest: int = LATE) -> None:
        self.close()
        self.trouble, self._rest, self._after = trouble, rest, None
        self.version += 1


def _holder(home: ExperimentDir) -> tuple[bool, float]:
    """Whether a process trains the experiment, and since when, in seconds since the epoch."""
    try:
        return is_held(home.lock), home.lock.stat().st_mtime
    except OSError:
        return False, 0.0
