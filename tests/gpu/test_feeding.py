"""A GPU is kept busy: by data workers, by uploads from pinned memory, and by a loop that adds little.

The one place where tests assert how long something takes: only a GPU can show it. Each figure is a ratio of
two that are measured in the same minute.
"""

import os
import time
from functools import partial

import pytest
import torch
from torch.nn import functional

from rapidfire_cli.training import uploads
from tests.gpu.conftest import DEVICE
from tests.gpu.specs import Kept
from tests.training.sandbox import leaf

pytestmark = pytest.mark.gpu
BATCH, STEPS = 64, 100
SGD = {"name": "SGD", "args": {"lr": 0.01}}
REPEATS = 256  # of a batch: a step is about 1.6 TFLOP
CORES = len(os.sched_getaffinity(0))


def config(pause=0.0):
    knobs = {"rows": BATCH * STEPS, "seconds": pause, "repeats": REPEATS}
    return leaf(SGD, epochs=3, batch_size=BATCH, named_metrics=(), user_knobs=knobs)


def seconds_of_an_epoch(made, knobs):
    """The shorter one of the second and the third epoch, when everything is warm."""
    made.train(knobs, until=1)
    return min(seconds(partial(made.train, knobs, until=epoch)) for epoch in (2, 3))


def seconds(work):
    torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def test_data_workers_keep_the_gpu_busy_with_a_stall_of_at_most_two_percent(place):
    """Preparing takes the data workers together 60 % of what the GPU takes."""
    kept = seconds_of_an_epoch(place("tests.gpu.specs:Kept", "kept", data_cache=2**30), config())
    workers = max(1, CORES - 2)
    prepare = 0.6 * kept / STEPS * workers / BATCH
    fed = place("tests.gpu.specs:Busy", "fed", data_workers=workers, prefetch=2 * workers, data_cache=0)
    stall = 1 - kept / seconds_of_an_epoch(fed, config(prepare))

    print(f"a step of {kept / STEPS * 1e3:.1f} ms, {workers} data workers: stall {stall:.2%}")
    assert stall <= 0.02


def test_the_loop_takes_at_most_five_percent_more_than_one_by_hand(place):
    ours = seconds_of_an_epoch(place("tests.gpu.specs:Kept", data_cache=2**30), config())
    spec, cfg = Kept(), config()
    model = spec.create_model(cfg).to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, labels = torch.randn(BATCH, 2048, device=DEVICE), torch.randint(8, (BATCH,), device=DEVICE)

    def epoch():
        for _ in range(STEPS):
            optimizer.zero_grad()
            functional.cross_entropy(model(x.repeat(REPEATS, 1))[:BATCH], labels).backward()
            optimizer.step()

    epoch()
    by_hand = min(seconds(epoch), seconds(epoch))

    print(f"{STEPS * BATCH / ours:.0f} rows/s, by hand {STEPS * BATCH / by_hand:.0f} rows/s")
    assert ours <= 1.05 * by_hand


def test_uploads_are_pinned_and_right_while_the_gpu_computes(monkeypatch):
    pinned = []

    def pin(batch):
        pinned.append(uploads_pin(batch))
        return pinned[-1]

    uploads_pin = uploads.pin_memory
    monkeypatch.setattr(uploads, "pin_memory", pin)
    busy = torch.randn(4096, 4096, device=DEVICE)
    sums = []
    for batch in uploads.uploaded(
        ({"x": torch.full((2**20,), float(n))} for n in range(50)), torch.device(DEVICE)
    ):
        busy = (busy @ busy).tanh()  # work that the copy of the next batch runs beside
        sums.append(batch["x"].double().mean())
        del batch

    assert torch.stack(sums).tolist() == [float(n) for n in range(50)]
    assert all(batch["x"].is_pinned() for batch in pinned)
