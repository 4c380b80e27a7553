"""Several runs on one GPU: how many, and why.

Theory of operation. An option, the file or a predefined placement says how many runs share each GPU. Each of
them has a slot, and the slots of a GPU share its memory equally. The slots of one GPU are not neighbours: a
gang consists of neighbours, and needs different GPUs.

How many runs share a GPU never changes results. So the number of threads does not depend on it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from rapidfire_cli.app.devices import DeviceRequest
from rapidfire_cli.engine.ports import Slot
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import DEMO_MODES, Run, RunsPerGpu, demo_mode

DEMO = "`dev_knob.demo_mode`"


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
    if execution.runs_per_gpu:
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


def packed(slots: Sequence[Slot], runs: int) -> tuple[Slot, ...]:
    """Each GPU's slot `runs` times, with an equal share of its memory; neighbours are on different GPUs."""
    return tuple(
        replace(slot, index=index, share=slot.share / runs) for index, slot in enumerate([*slots] * runs)
    )
