"""The gangs that a worker belongs to: which rank it has, what it reports, and whom it lost."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import torch

from rapidfire_cli.engine.messages import Rank, Report, Stranded
from rapidfire_cli.facts import (
    CheckpointDamaged,
    DevicesChanged,
    EpochEnded,
    Evicted,
    RunFailed,
    RunOpened,
    Saved,
    TurnEnded,
)
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.gang import PATIENCE, Gang, Lost
from rapidfire_cli.training.log import say

OfRun: TypeAlias = (
    RunOpened
    | EpochEnded
    | Saved
    | CheckpointDamaged
    | DevicesChanged
    | TurnEnded
    | Evicted
    | RunFailed
    | Stranded
)
"""The reports about a run."""


class Ranks:
    """The places of this process in gangs. They meet in `directory`; `report` sends to the controller."""

    def __init__(self, directory: Path, device: torch.device, report: Callable[[Report], None]) -> None:
        self._directory = directory
        self._device = device
        self._report = report
        self._gangs: dict[int, Gang] = {}  # by size
        self._of: dict[int, Rank] = {}  # by run

    def begin(self, run: int, place: Rank | None) -> None:
        """Record the place in the gang that trains the run from now on; None on one device."""
        self._of.pop(run, None)
        if place:
            self._of[run] = place

    def gang(self, place: Rank | None) -> Gang | None:
        """Return the gang of that name, meeting the others if it is new. Raises Lost."""
        if place is None:
            return None
        known = self._gangs.get(place.size)
        if known is None or known.name != place.gang:
            if known:
                known.close()
            known = self._gangs[place.size] = Gang(place, self._directory, self._device)
        return known

    def is_silent(self, run: int) -> bool:
        """Whether another rank reports on the run."""
        return run in self._of and self._of[run].rank > 0

    def tell(self, report: OfRun) -> None:
        """Send the report, if this rank reports on the run; any rank reports that it failed."""
        if isinstance(report, RunFailed | Stranded) or not self.is_silent(report.run):
            self._report(report)

    def are_lost(self, run: int, failure: Failure) -> bool:
        """Whether a run failed because of another rank, which then is no failure of the run.

        The controller sees by itself that a process ended; otherwise it needs to hear of it.
        """
        place = self._of.get(run)
        gang = self._gangs.get(place.size) if place else None
        if not isinstance(failure, Lost) and not (gang and gang.has_lost()):
            return False
        say(f"rapidfire: the other ranks cannot be reached: {failure.cause}")
        if gang is None or not gang.has_lost(PATIENCE):
            self._report(Stranded(run, failure.cause))
        return True
