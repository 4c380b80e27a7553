"""How many workers and GPUs are still wanted, shared out to the nodes of a cluster as they join."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Portion:
    """What a node contributes."""

    workers: int | None  # None for one per GPU
    gpus: int
    cores: int
    threads: int  # of each worker


class Room:
    """What is still wanted of a cluster; numbers are of all nodes together, and None means all there are."""

    def __init__(self, workers: int | None, gpus: int | None, threads: int | None) -> None:
        self._workers, self._gpus, self._threads = workers, gpus, threads
        self._on_gpus = bool(gpus)  # then nodes without GPUs are of no use

    @property
    def gpus_missing(self) -> int:
        """The GPUs that are wanted beyond those of the nodes so far."""
        return self._gpus or 0

    def take(self, cores: int, gpus: int, left: int) -> Portion | None:
        """The portion of a node, the first of `left` new ones; None if it has nothing to offer."""
        used = gpus if self._gpus is None else min(gpus, self._gpus)
        if self._on_gpus and not used:
            return None
        threads = self._threads or (max(1, cores // used) if used else 1)
        if self._workers is None:
            workers = None if used else max(1, cores // threads)
        else:
            workers = -(-self._workers // left)
            if not workers:
                return None
            self._workers -= workers
        if self._gpus is not None:
            self._gpus -= used
        return Portion(workers, used, min(cores, (workers or used) * threads), threads)

    def give_back(self, portion: Portion) -> None:
        """Let other nodes have what one cannot contribute."""
        if self._workers is not None:
            self._workers += portion.workers or 0
        if self._gpus is not None:
            self._gpus += portion.gpus
