"""What resident LoRA runs take: `python -m bench.memory`.

Eight runs with adapters of their own on one pretrained base rest in a worker's own code in this process. The
process's growth is held against the bytes that must be there: the base once, and of each run its adapter and
Adam's state. A checkpoint is held against the adapter and the state. All figures come from one run.
"""

import ctypes
import gc
import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from bench.adapters import write_base
from rapidfire_cli.engine.messages import Assignment, Evict, Setup, Train
from rapidfire_cli.terms import Execution
from rapidfire_cli.training.executor import Executor

RUNS = 8
MOST_MEMORY, MOST_CHECKPOINT = 1.10, 1.10  # times what must be there
PAGE = 4096


def main() -> None:
    """Print the figures; exit with 1 if one is above its limit."""
    directory = Path(tempfile.mkdtemp(prefix="rapidfire-memory-"))
    try:
        write_base(str(directory / "base"))
        executor = Executor(
            _setup(directory), lambda _: None, lambda: False, lambda _: None, lambda: 0.0, 2**40
        )
        _train(executor, directory, 1)  # what libraries allocate once
        executor.evict(Evict(1))
        before = _resident()
        for run in range(2, 2 + RUNS):
            _train(executor, directory, run)
        grown = _resident() - before
        run = executor._runs[2]
        parameters = [*run.model.parameters()]
        base = _bytes(each for each in parameters if not each.requires_grad)
        adapter = _bytes(each for each in parameters if each.requires_grad)
        state = _bytes(
            each for of in run.optimizer.state.values() for each in of.values() if isinstance(each, Tensor)
        )
        executor.evict(Evict(2))
        [checkpoint] = (directory / "runs" / "2").glob("step-*")
        kept = sum(file.stat().st_size for file in checkpoint.iterdir())
    finally:
        shutil.rmtree(directory)
    memory, size = grown / (base + RUNS * (adapter + state)), kept / (adapter + state)
    print(f"base {base / 1e6:.1f} MB, adapter {adapter / 1e6:.2f} MB, Adam's state {state / 1e6:.2f} MB")
    print(f"{RUNS} resident runs: {grown / 1e6:.1f} MB, {memory:.2f} x base + {RUNS} (adapter + state)")
    print(f"checkpoint: {kept / 1e6:.2f} MB, {size:.2f} x adapter + state")
    raise SystemExit(memory > MOST_MEMORY or size > MOST_CHECKPOINT)


def _setup(directory: Path) -> Setup:
    usual = Execution()
    return Setup(
        mlspec="bench.adapters:AdapterSpec",
        data="null",
        misc=str(directory / "misc"),
        device="cpu",
        threads=1,
        chunks=1,
        checkpoint_every=usual.checkpoint_every,
        data_cache=usual.data_cache,
    )


def _train(executor: Executor, directory: Path, run: int) -> None:
    """The first of the run's two epochs, after which it rests in the process."""
    train = {"epochs": 2, "batch_size": 16, "optimizer": {"name": "Adam", "args": {"lr": 1e-4 * run}}}
    config = json.dumps(
        {"train": train, "named_metrics": [], "user_knobs": {"base": str(directory / "base")}}
    )
    executor.train(Train((Assignment(run, config, 42, str(directory / "runs" / str(run))),), 1))


def _resident() -> int:
    """Bytes of this process that are in memory, after what is free was given back."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the tensors, tied ones once."""
    return sum(
        {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}.values()
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
