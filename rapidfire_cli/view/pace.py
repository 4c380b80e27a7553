"""How often a viewer shows what is new while runs train: seldom enough to leave the machine to them."""

import os

SHARE = 0.003  # of the machine's cores that a viewer may take (assumed: three of them stay below a hundredth)
LONGEST = 10.0  # seconds, however much showing takes


def pause(spent: float, least: float) -> float:
    """Return the seconds until something that took `spent` seconds of CPU time may be done again."""
    cores = len(os.sched_getaffinity(0))
    return max(least, min(spent / (SHARE * cores), LONGEST))
