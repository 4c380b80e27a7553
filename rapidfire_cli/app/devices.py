"""Choose the devices to train on, as requested on the command line and in the file."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.experiments import LoadedExperiment
from rapidfire_cli.engine.local.slots import VISIBLE, Offer, cores, missing_gpus, slots, visible_gpus
from rapidfire_cli.engine.messages import Setup
from rapidfire_cli.engine.ports import Slot, gpus_of
from rapidfire_cli.manifest.origin import origin
from rapidfire_cli.manifest.representatives import Representatives
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.syntax.ast import ExperimentFile, List
from rapidfire_cli.syntax.metrics import NAMED_METRICS
from rapidfire_cli.terms import Run, RunsPerGpu, canonical
from rapidfire_cli.view.wording import counted

IDLE = 4  # cores for each one in use: from here on a note is printed (assumed)


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """The devices requested on the command line; None means the file's value, then the machine's."""

    workers: int | None = None
    threads: int | None = None
    gpus: int | None = None
    runs_per_gpu: RunsPerGpu | None = None
    ray: str | None = None  # the address of a cluster to train on
    insecure: bool = False  # even if it lets anyone in


def seats(file: ExperimentFile, asked: DeviceRequest) -> tuple[tuple[Slot, ...], int]:
    """The slots, and the CPU threads of each. Raises Unavailable if there are fewer GPUs than requested.

    There is one slot per GPU, unless the number of workers is given; `packing` adds others. The threads do
    not depend on what it adds, because results depend on them.
    """
    offer = _offer(asked.gpus)
    workers = asked.workers or (None if asked.runs_per_gpu else file.execution.workers)
    threads = asked.threads or file.execution.threads
    if threads is None:
        threads = max(1, offer.cores // (workers or len(offer.gpus))) if offer.gpus else 1
    return slots(offer, workers, threads), threads


def check_gangs(
    file: ExperimentFile, runs: Iterable[Run], outline: Representatives, slots: Sequence[Slot]
) -> None:
    """Check that no run of the file needs more devices at once than there are. Raises Refusal."""
    machines = [[*machine] for _, machine in groupby(slots, lambda slot: slot.host)]
    gpus = gpus_of(slots)
    present = gpus or max(map(len, machines))
    of_file = (run for run in runs if run.origin is None)  # others fail by themselves
    run = next((run for run in of_file if outline.gangs.get(run.number, 1) > present), None)
    if run is None:
        return
    needed = outline.gangs[run.number]
    there = counted(gpus, "GPU") if gpus else f"{counted(present, 'worker')} on the CPU"
    if len(machines) > 1:
        there = f"{there} on one node"
    hint = "lower `train.gpus`" if gpus else f"`execution.workers: {needed}` starts as many on the CPU"
    message = f"run {run.number} needs {needed} devices at once, and there are {present}"
    span = origin(file, run, ("train", "gpus"))
    raise Refusal([Problem("E519", message, span, f"{needed}", f"at most {present} ({there})", hint)])


def spread_note(file: ExperimentFile, gpus: int | None = None) -> str:
    """A line about runs that take all GPUs of this machine; empty without such runs or without GPUs."""
    if gpus is None:
        gpus = gpus_here()
    if gpus < 2 or not any(_takes_all(group.generator.tree) for group in file.groups):
        return ""
    return (
        f"note: without `train.gpus`, runs with `fsdp_layer_cls` train on all {gpus} GPUs of this machine\n"
    )


def _takes_all(config: Mapping[str, Any]) -> bool:
    return "fsdp_layer_cls" in config and "gpus" not in config["train"]


def gpus_here() -> int:
    """The GPUs of this machine that may be used."""
    return len(visible_gpus(os.environ, _present()))


def _present() -> int:
    """The GPUs of the machine, visible or not."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def advised(file: ExperimentFile, asked: DeviceRequest, slots: Sequence[Slot], threads: int) -> str:
    """The advice to print about these slots with `threads` each; empty if there is none."""
    chosen = bool(asked.threads or file.execution.threads or any(slot.visible for slot in slots))
    return advice(cores(), len(slots), threads, chosen)


def setup(loaded: LoadedExperiment, slot: Slot, threads: int, data_workers: int = 0) -> Setup:
    """The first order to the slot's worker."""
    file = loaded.file
    return Setup(
        mlspec=loaded.mlspec,
        data=canonical(file.data),
        misc=str(loaded.home.misc),
        device=slot.device,
        threads=threads,
        chunks=file.execution.chunks,
        checkpoint_every=file.execution.checkpoint_every,
        data_cache=file.execution.data_cache,
        disk_cache=file.execution.disk_cache,
        rows=str(loaded.home.rows),
        data_workers=data_workers,
        prefetch=file.execution.prefetch or 0,
        share=slot.share,
        metrics=tuple(dict.fromkeys(_named_metrics(file))),
        path=loaded.path,
        prepared=str(loaded.home.prepared),
        keep=file.execution.keep,
        gangs=str(loaded.home.gangs),
    )


def _named_metrics(file: ExperimentFile) -> Iterator[str]:
    """The names of all metrics that some run of the file may compute."""
    trees = [group.generator.tree.get(NAMED_METRICS) for group in file.groups]
    while trees:
        match trees.pop(0):
            case str(name):
                yield name
            case list(values) | List(values):
                trees += values


def data_workers(file: ExperimentFile, slots: Sequence[Slot]) -> int:
    """The data workers of each slot; by default none on the CPU, whose cores train."""
    if file.execution.data_workers is not None:
        return file.execution.data_workers
    return max(1, cores() // len(slots)) if slots[0].device != "cpu" else 0


def _offer(asked: int | None) -> Offer:
    present = _present()
    gpus = visible_gpus(os.environ, present)
    missing = ", ".join(missing_gpus(os.environ, present))
    if asked is not None and asked > len(gpus):
        why = f"; {VISIBLE} names {missing}, which it does not have" if missing else ""
        raise Unavailable(f"{counted(asked, 'GPU')} requested, but this machine has {len(gpus)}{why}")
    if missing and asked != 0:
        instead = f"on {', '.join(gpus)}" if gpus else "on the CPU"
        print(
            f"warning: {VISIBLE} names {missing}, which this machine does not have; training {instead}",
            file=sys.stderr,
        )
    return Offer(cores(), gpus[:asked])


def advice(cores: int, workers: int, threads: int, chosen: bool) -> str:
    """A warning or note if the workers use too many cores, or by default few of them; else empty.

    Threads that wait for a core spin: 2 workers with 2 threads each took 3 to 7 times as long on 2 cores.
    """
    used = workers * threads
    if used > cores:
        fewer = f"--threads {max(1, cores // workers)}" if threads > 1 else f"--workers {cores}"
        each = f" with {counted(threads, 'thread')} each" if threads > 1 else ""
        slower = "training can be several times slower" if threads > 1 else "they slow each other down"
        machine = counted(cores, "core")
        return f"warning: {counted(workers, 'worker')}{each} on {machine}: {slower}; use `{fewer}`"
    if not chosen and used * IDLE <= cores:
        more = f"`--threads {cores // workers}` uses all of them (results depend on the number of threads)"
        return (
            f"note: {counted(workers, 'worker')} with {counted(threads, 'thread')} on {cores} cores; {more}"
        )
    return ""
