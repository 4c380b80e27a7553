"""The slots of this machine: its GPUs if there are any, else shares of the CPU."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from rapidfire_cli.engine.ports import Slot

VISIBLE = "CUDA_VISIBLE_DEVICES"
NONE = frozenset({"", "-1", "none", "NoDevFiles"})  # values that mean no GPU; the last is SLURM's
UUIDS = ("GPU-", "MIG-")


@dataclass(frozen=True, slots=True)
class Offer:
    """The devices of a machine, as the process sees them."""

    cores: int
    gpus: tuple[str, ...]  # as CUDA_VISIBLE_DEVICES names them


def visible_gpus(environment: Mapping[str, str], present: int) -> tuple[str, ...]:
    """The usable GPUs: those in CUDA_VISIBLE_DEVICES, or all if it is unset.

    CUDA itself stops at the first name that is no device.
    """
    named = environment.get(VISIBLE)
    if named is None:
        return tuple(str(index) for index in range(present))
    return tuple(takewhile(lambda name: _is_there(name, present), _listed(named)))


def missing_gpus(environment: Mapping[str, str], present: int) -> tuple[str, ...]:
    """The GPUs in CUDA_VISIBLE_DEVICES that this machine does not have."""
    named = environment.get(VISIBLE, "")
    return tuple(name for name in _listed(named) if name not in NONE and not _is_there(name, present))


def cores(root: Path = Path("/")) -> int:
    """The number of processors that this process may use, limited by its affinity and its cgroup's quota."""
    return max(1, min([len(os.sched_getaffinity(0)), *map(int, _quotas(root))]))


def slots(offer: Offer, workers: int | None, threads: int) -> tuple[Slot, ...]:
    """One slot per worker: GPUs in turn, or the CPU shared out by `threads` per worker."""
    if offer.gpus:
        count = workers or len(offer.gpus)
        names = [offer.gpus[index % len(offer.gpus)] for index in range(count)]
        return tuple(
            Slot(index, "cuda:0", visible=name, share=1 / names.count(name))
            for index, name in enumerate(names)
        )
    count = workers or max(1, offer.cores // threads)
    return tuple(Slot(index, "cpu", visible="", share=1 / count) for index in range(count))


def packed(slots: Sequence[Slot], runs: int) -> tuple[Slot, ...]:
    """Each GPU's slot `runs` times, with an equal share of its memory; neighbours are on different GPUs."""
    return tuple(
        replace(slot, index=index, share=slot.share / runs) for index, slot in enumerate([*slots] * runs)
    )


def _listed(named: str) -> list[str]:
    return [name.strip() for name in named.split(",")]


def _is_there(name: str, present: int) -> bool:
    """Whether a device of that name can be among those present."""
    return int(name) < present if name.isdecimal() else bool(present) and name.startswith(UUIDS)


def _quotas(root: Path) -> Iterator[float]:
    """The quotas, in processors, of this process's cgroup and its parents (cgroups(7))."""
    for place in _cgroups(root):
        with suppress(OSError, ValueError):  # the other version of cgroups; "max"
            quota, period = (place / "cpu.max").read_text("ascii").split()
            yield int(quota) / int(period)
        with suppress(OSError, ValueError):
            quota, period = (
                (place / f"cpu.cfs_{name}_us").read_text("ascii") for name in ("quota", "period")
            )
            if int(quota) > 0:
                yield int(quota) / int(period)


def _cgroups(root: Path) -> Iterator[Path]:
    """The directories of this process's cgroups that control processors, up to where they are mounted.

    A container may see its own at the top, and not under the path that it is told.
    """
    mount = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for top in [mount] if not controllers else [mount / controllers, mount / "cpu"]:
            if not controllers or "cpu" in controllers.split(","):
                below = top / path.strip("/")
                yield from (place for place in (below, *below.parents) if place.is_relative_to(top))
