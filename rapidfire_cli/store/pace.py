"""How fast runs train: what their turns took, and on how many slots."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rapidfire_cli.store.connection import reader

SECONDS = """
    SELECT number, sum(ended - started) / epoch FROM turns JOIN runs ON run = number
    WHERE ended IS NOT NULL AND epoch > 0 GROUP BY number"""
TRAINED = "SELECT run, sum(ended - started) FROM turns WHERE ended IS NOT NULL GROUP BY run"
SLOTS = "SELECT count(DISTINCT slot) FROM (SELECT slot FROM turns ORDER BY rowid DESC LIMIT ?)"
LAST = 64  # turns that show which slots are in use (assumed)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds per epoch by run, and the slots that were in use lately."""

    seconds: Mapping[int, float]
    slots: int

    def of(self, run: int) -> float:
        """Seconds per epoch of the run; of one that has finished none, what the others took on average."""
        return self.seconds.get(run, sum(self.seconds.values()) / len(self.seconds))


def pace(journal: Path) -> Pace:
    """Read it. Raises Refusal where nothing can be read."""
    with reader(journal) as db:
        seconds = dict(db.execute(SECONDS).fetchall())
        return Pace(seconds, db.execute(SLOTS, [LAST]).fetchone()[0])


def trained_seconds(journal: Path) -> dict[int, float]:
    """Seconds that each run was trained, by run. Raises Refusal where nothing can be read."""
    with reader(journal) as db:
        return dict(db.execute(TRAINED).fetchall())
