"""How much memory there is for this process, and by how much the runs that rest in it have grown it.

A run at rest holds more than its model: what user code keeps on the MLSpec, Python's objects, an allocator's
leftovers. That cannot be counted object by object, so the growth of the process is shared out among the runs.
"""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PAGE = resource.getpagesize()
UNLIMITED = 2**62  # cgroup v1 says "no limit" as a number of about this size
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")
MATTERS = 0.25  # of the room: less growth than that is not worth acting on (assumed)


def free(share: float = 1.0, root: Path = Path("/")) -> int:
    """Bytes that this process may still take: a share of the machine's and its cgroups', up to its own limit.

    `root` is where /proc and /sys are.
    """
    shared = min([_machine(root), *_cgroups(root)])
    return max(0, min([int(shared * share), *_own_limit(root)]))


def _machine(root: Path) -> int:
    """What the kernel can hand out without swapping, the caches that it would drop included."""
    for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * PAGE


def _own_limit(root: Path) -> Iterator[int]:
    """What RLIMIT_AS leaves, if it is set."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield limit - _statm(root)[0]


def _cgroups(root: Path) -> Iterator[int]:
    """What each cgroup that this process is in, or that is above it, leaves, where it has a limit."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield from _left(root / "sys/fs/cgroup", path, V2)
            elif "memory" in controllers.split(","):
                yield from _left(root / "sys/fs/cgroup/memory", path, V1)


def _left(mount: Path, path: str, names: tuple[str, str, str]) -> Iterator[int]:
    """From the cgroup up to the mount, which in a container is all that is there."""
    limit, usage, cache = names
    group = mount / path.lstrip("/")
    for place in (one for one in (group, *group.parents) if one.is_relative_to(mount)):
        with suppress(OSError, ValueError):  # not there, or `max`
            most = int((place / limit).read_text(encoding="ascii"))
            if most < UNLIMITED:
                used = int((place / usage).read_text(encoding="ascii"))
                yield most - used + _reclaimable(place, cache)


def _reclaimable(place: Path, cache: str) -> int:
    """Bytes of files that were read and can be dropped; they count as used."""
    with suppress(OSError):
        for line in (place / "memory.stat").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == cache:
                return int(value)
    return 0


def resident(root: Path = Path("/")) -> int:
    """Bytes of memory that this process has now."""
    return _statm(root)[1]


def _statm(root: Path) -> tuple[int, int]:
    """Bytes of address space, and of memory."""
    virtual, present, *_ = (root / "proc/self/statm").read_text(encoding="ascii").split()
    return int(virtual) * PAGE, int(present) * PAGE


class Growth:
    """By how much runs at rest have grown the process, beyond what its first run and loading data took."""

    def __init__(self, room: int, measure: Callable[[], int] = resident) -> None:
        self._room = room
        self._measure = measure  # the process's bytes of memory
        self._begun: int | None = None  # bytes of memory with the first run at rest; what warms up is in it
        self._apart = 0  # bytes by which what runs share grew since then
        self._most = 1  # runs at rest at once

    @contextmanager
    def apart(self) -> Iterator[None]:
        """What is loaded inside is not a run's own."""
        before = self._measure()
        try:
            yield
        finally:
            if self._begun is not None:
                self._apart += self._measure() - before

    def each(self, runs: int) -> int:
        """Bytes per run, with so many at rest; 0 while the growth is too small to matter or to be measured.

        Memory that runs leave behind is used by the next: it belongs to the most that there ever were.
        """
        now = self._measure()
        if self._begun is None:
            self._begun = now
        self._most = max(self._most, runs)
        grown = now - self._begun - self._apart
        if self._most < 2 or grown < MATTERS * self._room:
            return 0
        return grown // (self._most - 1)
