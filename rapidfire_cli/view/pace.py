"""How often a viewer shows what is new while runs train: seldom enough to leave the machine to them."""

import os
from dataclasses import dataclass
from typing import Final

SHARE: Final = 0.003  # of the machine's cores that a viewer may take (assumed: three stay below a hundredth)
SAVED: Final = 0.2  # seconds of CPU time that it may save up, to show a few changes at once (assumed)
LONGEST: Final = 10.0  # seconds until it shows what is new, whatever showing takes


@dataclass(slots=True)
class Allowance:
    """The CPU time that a viewer may take: it grows as time passes, and showing something uses it up."""

    left: float = SAVED  # seconds of CPU time; below 0 where more was taken
    at: float = 0.0  # when that was so

    def pause(self, spent: float, least: float, now: float) -> float:
        """Return the seconds until something may be shown again, after showing took `spent` of CPU time."""
        rate = SHARE * len(os.sched_getaffinity(0))
        saved = min(SAVED, self.left + rate * (now - self.at))
        self.left, self.at = max(saved - spent, -rate * LONGEST), now
        return max(least, -self.left / rate)
