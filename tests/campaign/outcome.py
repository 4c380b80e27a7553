"""What a trial did and what came of it."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

TOLD = 2000  # characters of what was printed


@dataclass(slots=True)
class Outcome:
    """A trial of a campaign; its seed, or its number, repeats it."""

    campaign: str
    seed: int
    done: int = 0  # of what the campaign counts
    controllers: int = 0  # killed
    workers: int = 0  # killed
    slowest_death: float = 0.0  # seconds until the last process was gone
    survivors: int = 0  # controllers that something outlived for too long
    failures: list[str] = field(default_factory=list)

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Whatever goes wrong within is a failure of the trial."""
        try:
            yield
        except Exception:
            self.failures.append(traceback.format_exc()[-TOLD:])
