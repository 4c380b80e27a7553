"""The memory available to this process, and the memory that each waiting run adds to it.

A waiting run holds more than its model: attributes of the MLSpec, Python objects, memory that the allocator
has not returned. These cannot be counted object by object, so the growth of the process is divided by the
runs.
"""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PAGE = resource.getpagesize()
UNLIMITED = 2**62  # cgroup v1 reports "no limit" as a number of about this size
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")
MATTERS = 0.25  # share of the room: smaller growth is ignored (assumed)


def free(share: float = 1.0, root: Path = Path("/")) -> int:
    """Return the bytes that this process may still allocate.

    This is `share` of what the machine and the cgroups have left, up to the process's own limit. `root` is
    the directory that holds /proc and /sys.
    """
    shared = min([_machine(root), *_cgroups(root)])
    return max(0, min([int(shared * share), *_own_limit(root)]))


def total(root: Path = Path("/")) -> int:
    """Return the bytes of the machine's memory, or of the smallest limit of a cgroup."""
    machine = os.sysconf("SC_PHYS_PAGES") * PAGE
    return min([machine, *_cgroups(root, used=False)])


def _machine(root: Path) -> int:
    """The bytes that the kernel can provide without swapping, including caches that it would drop."""
    for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * PAGE


def _own_limit(root: Path) -> Iterator[int]:
    """Yield the bytes left below RLIMIT_AS, if it is set."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield limit - _statm(root)[0]


def _cgroups(root: Path, used: bool = True) -> Iterator[int]:
    """Yield the bytes left in each cgroup of this process, and in each parent cgroup, that has a limit.

    Without `used`, yield the limits.
    """
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield from _left(root / "sys/fs/cgroup", path, V2, used)
            elif "memory" in controllers.split(","):
                yield from _left(root / "sys/fs/cgroup/memory", path, V1, used)


def _left(mount: Path, path: str, names: tuple[str, str, str], used: bool) -> Iterator[int]:
    """Yield the bytes left in the cgroup and its parents; a container sees only the mount point."""
    limit, usage, cache = names
    group = mount / path.lstrip("/")
    for place in (one for one in (group, *group.parents) if one.is_relative_to(mount)):
        with suppress(OSError, ValueError):  # the file is missing or contains `max`
            most = int((place / limit).read_text(encoding="ascii"))
            if most < UNLIMITED:
                now = int((place / usage).read_text(encoding="ascii")) - _reclaimable(place, cache)
                yield most - now * used


def _reclaimable(place: Path, cache: str) -> int:
    """Bytes of file caches, which count as used but can be dropped."""
    with suppress(OSError):
        for line in (place / "memory.stat").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == cache:
                return int(value)
    return 0


def resident(root: Path = Path("/"), process: int | str = "self") -> int:
    """Return the bytes of memory that a process occupies now. Raises OSError if there is no such process."""
    return _statm(root, process)[1]


def _statm(root: Path, process: int | str = "self") -> tuple[int, int]:
    """Return the process's bytes of address space and of resident memory."""
    virtual, present, *_ = (root / f"proc/{process}/statm").read_text(encoding="ascii").split()
    return int(virtual) * PAGE, int(present) * PAGE


class Growth:
    """Measures how much waiting runs have grown the process, beyond the first run and loaded data."""

    def __init__(self, room: int, measure: Callable[[], int] = resident) -> None:
        self._room = room
        self._measure = measure  # the process's bytes of memory
        self._begun: int | None = None  # the process's bytes with the first waiting run, after warm-up
        self._apart = 0  # bytes by which shared data grew since then
        self._most = 1  # the largest number of runs that waited at once

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Count memory that is allocated in the block as shared, not as a run's own."""
        before = self._measure()
        try:
            yield
        finally:
            if self._begun is not None:
                self._apart += self._measure() - before

    def each(self, runs: int) -> int:
        """Return the bytes per run while `runs` of them wait; 0 if the growth is too small to matter.

        The growth is divided by the largest number of runs that ever waited at once, because runs reuse the
        memory that earlier ones left.
        """
        now = self._measure()
        if self._begun is None:
            self._begun = now
        self._most = max(self._most, runs)
        grown = now - self._begun - self._apart
        if self._most < 2 or grown < MATTERS * self._room:
            return 0
        return grown // (self._most - 1)
