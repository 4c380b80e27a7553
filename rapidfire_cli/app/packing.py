"""Several runs on one GPU: how many, and why.

Theory of operation. An option, the file or a predefined placement says how many runs share each GPU. Each of
them has a slot, and the slots of a GPU share its memory equally. The slots of one GPU are not neighbours: a
gang consists of neighbours, and needs different GPUs.

With `auto`, a worker that has a GPU to itself trains two steps of the runs that may need the most
memory. As many runs share each GPU as fit, if each needs as much as the largest one and MARGIN more. The
other GPUs are assumed to be alike. Runs that need more all the same run out of memory, and then get the share
of another slot (`engine.sharing`).

How many runs share a GPU never changes results. So the number of threads does not depend on it.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rapidfire_cli.app.devices import DeviceRequest
from rapidfire_cli.engine.driver import Driver
from rapidfire_cli.engine.jobs import NoWorker
from rapidfire_cli.engine.messages import Assignment, Memory, Peak, Probe, Probed
from rapidfire_cli.engine.ports import Slot
from rapidfire_cli.manifest.representatives import heaviest
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import AUTO, DEMO_MODES, Run, RunsPerGpu, canonical, demo_mode, gang_size
from rapidfire_cli.view.audience import waiting
from rapidfire_cli.view.wording import counted

DEMO = "`dev_knob.demo_mode`"
MARGIN = 0.2  # share of a run's peak that is left free beside it (assumed: later batches may be longer)
CONTEXT = 2**29  # bytes of a GPU that a worker takes beside its tensors, at least (assumed, as in `device`)
MOST_CONTEXT = 2**30  # at most: more than that is used by other processes (assumed)
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many runs are to share each GPU, and what says so."""

    runs: RunsPerGpu = 1
    by: str = ""  # empty for the default
    modes: tuple[str, ...] = ()  # the predefined placements that the configs name
    is_total: bool = False  # the number of all workers is given instead


def wanted(file: ExperimentFile, asked: DeviceRequest, kinds: Iterable[Run]) -> Wanted:
    """What the command line says, else the file, else the predefined placement of its configs."""
    modes = tuple(sorted({mode for run in kinds if (mode := demo_mode(run.leaf))}))
    execution = file.execution
    if asked.workers:
        return Wanted(1, "`--workers`", modes, is_total=True)
    if asked.runs_per_gpu:
        return Wanted(asked.runs_per_gpu, "`--runs-per-gpu`", modes)
    if execution.workers:
        return Wanted(1, "`execution.workers`", modes, is_total=True)
    if execution.runs_per_gpu and not (execution.runs_per_gpu == AUTO and modes):
        return Wanted(execution.runs_per_gpu, "`execution.runs_per_gpu`", modes)
    if modes:
        return Wanted(min(DEMO_MODES[mode] for mode in modes), DEMO, modes)
    return Wanted()


def notes(wanted: Wanted, slots: Sequence[Slot]) -> Iterator[str]:
    """What a person wrote that has no effect, each in a line."""
    on_cpu = not any(slot.visible for slot in slots)
    if on_cpu and wanted.by not in ("", DEMO) and not wanted.is_total:
        yield f"note: {wanted.by} has no effect on the CPU"
    if wanted.modes and on_cpu:
        yield f"note: {DEMO} has no effect on the CPU"
    elif wanted.modes and wanted.by != DEMO:
        yield f"note: {DEMO} has no effect beside {wanted.by}"


@dataclass(frozen=True, slots=True)
class Packing:
    """How many runs share each GPU, and why."""

    runs: int
    why: str  # one line
    working: int = 0  # bytes that a run needs beside what it keeps at rest; 0 if that is not known


ALONE = Packing(1, "")
"""The packing where nothing asks for another one."""


def given(wanted: Wanted) -> Packing:
    """The packing by a number of runs that was given."""
    if wanted.runs == AUTO or wanted.runs < 2:
        return ALONE
    return Packing(wanted.runs, f"{wanted.runs} runs on each GPU: {wanted.by}")


def measured(driver: Driver, runs: Sequence[Run], most: int | None) -> Packing | None:
    """Have a worker measure the runs; return what fits. None when a stop was asked for meanwhile."""
    asked = tuple(Assignment(run.number, _on_one_device(run), run.seed, "") for run in heaviest(runs))
    try:
        with waiting(f"measuring the memory of {counted(len(asked), 'run')}", sys.stderr, os.environ):
            answer = driver.probe(Probe((), measured=asked), 1)
    except NoWorker as ending:
        return _unmeasured(f"the worker {ending}")
    return fitting(answer, most) if answer else None


def _on_one_device(run: Run) -> str:
    leaf = run.leaf
    if (size := leaf["train"].get("gpus", 1)) == 1:
        return run.config
    leaf["train"] |= {"gpus": 1, "batch_size": -(-leaf["train"]["batch_size"] // size)}
    return canonical(leaf)


def most_at_once(runs: Iterable[Run], gpus: int) -> int:
    """How many runs each GPU would train if all were trained at once."""
    return max(1, -(-sum(gang_size(run.leaf) for run in runs) // gpus))


def _unmeasured(cause: str) -> Packing:
    """The packing where nothing could be measured."""
    return Packing(1, f"1 run on each GPU: its memory could not be measured: {cause}")


def fitting(answer: Probed, most: int | None) -> Packing:
    """As many runs as fit on a GPU, but no more than `most`."""
    known = [each for each in answer.peaks if not each.failed]
    if not known or answer.memory is None:
        return _unmeasured(next((f"run {each.run}: {each.failed}" for each in answer.peaks), "no run"))
    largest = max(known, key=lambda each: each.size)
    context, needed = _needs(largest, answer.memory)
    room = answer.memory.total - max(0, answer.memory.used - context)
    fit = max(1, room // needed)
    runs = fit if most is None else min(fit, most)
    fits = "" if runs == fit else f"; {fit:,} would fit"
    working = int((1 + MARGIN) * largest.size) - largest.rest
    why = (
        f"run {largest.run} needs {_gib(largest.size)}; with a margin and CUDA {_gib(needed)} of {_gib(room)}"
    )
    return Packing(runs, f"{counted(runs, 'run')} on each GPU: {why}{fits}", working)


def _needs(peak: Peak, memory: Memory) -> tuple[int, int]:
    """The bytes that a worker takes beside its tensors, and those that it needs in all."""
    context = max(CONTEXT, min(memory.used, MOST_CONTEXT))
    return context, context + int((1 + MARGIN) * peak.size)


def _gib(size: int) -> str:
    return f"{size / GIB:,.2f} GiB"
