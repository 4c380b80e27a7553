"""The slots: their workers, what these train, and the memory that they occupy."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.text import Text

from rapidfire_cli.problems import visible
from rapidfire_cli.training.memory import resident
from rapidfire_cli.view.top.watched import Watched
from rapidfire_cli.view.wording import NOTHING, duration_text, size_text

PATIENCE = 5.0  # seconds for the driver's own tool (assumed; it takes one)
MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Occupied:
    """Bytes by process: of the machine's memory, and of its GPUs'."""

    memory: Mapping[int, int] = field(default_factory=dict)
    gpu: Mapping[int, int] = field(default_factory=dict)


def occupied(known: Watched, root: Path = Path("/")) -> Occupied:
    """What the workers occupy now, as far as this machine can say."""
    lines = [line for line in known.slots.values() if line.pid]
    memory: dict[int, int] = {}
    for line in lines:
        with suppress(OSError):
            memory[line.pid] = resident(root, line.pid)
    on_gpus = bool(memory) and any(line.device.startswith("cuda") for line in lines)
    return Occupied(memory, _gpus() if on_gpus else {})


def slot_lines(known: Watched, bytes_of: Occupied, now: float) -> Iterator[Text]:
    """A line for each slot, at this time of a monotonic clock."""
    if not known.alive:
        yield Text("no process trains this experiment now", "dim")
        return
    if not known.slots:
        yield Text("starting workers …", "dim")
    for slot, line in sorted(known.slots.items()):
        text = Text.assemble((f"slot {slot}", "bold"), f"  {visible(line.device) or NOTHING:7}")
        if line.cause:
            yield text.append(f"  worker died: {visible(line.cause)}", "red")
            continue
        memory, gpu = bytes_of.memory.get(line.pid), bytes_of.gpu.get(line.pid)
        text.append(f"  pid {line.pid:<8}{size_text(memory) if memory else NOTHING:>9}")
        if gpu is not None:
            text.append(f"  GPU {size_text(gpu):>9}")
        row = known.rows.get(line.run or 0)
        if row is None:
            text.append("  idle", "dim")
        else:
            text.append(f"  ● run {row.number}", "cyan")
            text.append(f"  epoch {row.epoch + 1}/{row.epochs}")
            if line.since is not None:
                text.append(f"  {duration_text(now - line.since)}")
        yield text


def _gpus() -> dict[int, int]:
    """Bytes on GPUs by process."""
    command = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    found: dict[int, int] = {}
    for line in done.stdout.splitlines():
        pid, _, used = line.partition(",")
        if pid.strip().isdecimal() and used.strip().isdecimal():
            found[int(pid)] = found.get(int(pid), 0) + int(used) * MEBIBYTE
    return found
