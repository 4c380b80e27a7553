"""Step time of a sharded run, and of a plain FSDP2 script under torchrun: `python -m bench.gang`.

Both train the same transformer with the same batches on two gloo ranks of one thread each, in turn; read the
ratio. Then the two messages that a gang adds to each step: what to do next, and what was read from a batch.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from bench.gang_work import BATCH, EPOCHS, LR, ROWS
from rapidfire_cli.engine.messages import Assignment, Rank, Report, Setup, Train
from rapidfire_cli.facts import EpochEnded
from rapidfire_cli.training.device import prepare
from rapidfire_cli.training.executor import Executor
from rapidfire_cli.training.gang import Gang

ROOT = Path(__file__).parents[1]
ROUNDS, MESSAGES = 3, 500
LAYER = "torch.nn.TransformerEncoderLayer"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rank", nargs=3, metavar=("RANK", "DIR", "LAYERS"), help=argparse.SUPPRESS)
    if arguments := asked.parse_args().rank:
        _train(int(arguments[0]), Path(arguments[1]), json.loads(arguments[2]))
        return
    found: dict[str, list[float]] = {"plain": [], "sharded": [], "whole": [], "agree": [], "exchange": []}
    for _ in range(ROUNDS):
        found["plain"].append(_plain()["step"])
        for name, layers in (("sharded", [LAYER]), ("whole", [])):
            ours = _ours(layers)
            found[name].append(ours["step"])
        found["agree"].append(ours["agree"])
        found["exchange"].append(ours["exchange"])
    ratios = [ours / theirs for ours, theirs in zip(found["sharded"], found["plain"], strict=True)]
    print(f"plain FSDP2 under torchrun   {1e3 * median(found['plain']):6.1f} ms a step")
    print(
        f"a sharded run                {1e3 * median(found['sharded']):6.1f} ms, {median(ratios):.2f} times"
    )
    print(f"each device the whole model  {1e3 * median(found['whole']):6.1f} ms")
    print(f"what to do next              {1e6 * median(found['agree']):6.0f} µs a step")
    print(f"what was read from a batch   {1e6 * median(found['exchange']):6.0f} µs a batch")


def _plain() -> dict[str, float]:
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    return _printed(subprocess.Popen([sys.executable, *command, "-m", "bench.peers.fsdp2"], **_how()))


def _ours(layers: list[str]) -> dict[str, float]:
    with TemporaryDirectory() as place:
        given = (place, json.dumps(layers))
        ranks = [
            subprocess.Popen([sys.executable, "-m", "bench.gang", "--rank", f"{rank}", *given], **_how())
            for rank in (0, 1)
        ]
        first, _ = [_printed(each) for each in ranks]
        return first


def _how() -> dict[str, object]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return {"cwd": ROOT, "env": environment, "stdout": subprocess.PIPE, "text": True}


def _printed(process: "subprocess.Popen[str]") -> dict[str, float]:
    said, _ = process.communicate()
    assert process.returncode == 0
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def _train(rank: int, place: Path, layers: list[str]) -> None:
    """Train as one rank, and print the seconds of a step and of the messages."""
    told: list[Report] = []
    setup = Setup(
        mlspec="bench.gang_work:WorkSpec",
        data="null",
        misc=str(place / "misc"),
        prepared=str(place / "prepared"),
        device="cpu",
        threads=1,
        chunks=1,
        checkpoint_every=1e9,
        data_cache=2**28,
        rows=str(place / "rows"),
        gangs=str(place / "gangs"),
    )
    gc.disable()  # this and what follows as a worker does
    prepare(setup)
    executor = Executor(setup, told.append, lambda: False, lambda _step: None)
    gc.freeze()
    gc.enable()
    executor.start()
    train = {"epochs": EPOCHS, "batch_size": BATCH, "optimizer": {"name": "AdamW", "args": {"lr": LR}}}
    config = json.dumps({"train": {**train, "gpus": 2}, "fsdp_layer_cls": layers})
    order = Train((Assignment(1, config, 42, str(place / "1")),), EPOCHS, 0, Rank(rank, 2, "1"))
    executor.train(order)
    gang = Gang(Rank(rank, 2, "2"), place / "gangs", torch.device("cpu"))
    seconds = [each.seconds for each in told if isinstance(each, EpochEnded)]
    found = {"step": median(seconds[1:]) / (ROWS // BATCH)} if rank == 0 else {}
    reading = (torch.tensor(1.0), {"loss": torch.tensor(2.0)})
    for name, send in (("agree", lambda: gang.agree(0)), ("exchange", lambda: gang.exchange(reading))):
        began = time.perf_counter()
        for _ in range(MESSAGES):
            send()
        found[name] = (time.perf_counter() - began) / MESSAGES
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
