"""Small MLSpecs for whole runs of the tool; `user_knobs.does` makes a run misbehave."""

import ctypes
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import torch
from torch import nn

from rapidfire_cli.mlspec import MLSpec


class Tiny(MLSpec):
    """A learnable question about 8 numbers; dropout makes training draw randomness."""

    def load_data(self, data, cfg):
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(192, 8, generator=generator)
        rows = [{"x": row, "labels": (row[0] > row[1]).long()} for row in inputs]
        return {"train": rows[:128], "validation": rows[128:]}

    def create_model(self, cfg):
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))

    def compute_forward(self, model, batch, cfg):
        knobs = cfg.get("user_knobs", {})
        misbehave(knobs.get("does"))
        if len(batch["x"]) > knobs.get("fits", 1024):
            misbehave("devour")
        time.sleep(knobs.get("pause", 0))
        logits = model(batch["x"])
        loss = nn.functional.cross_entropy(logits, batch["labels"])
        if knobs.get("does") == "forget the loss":
            return {"logits": logits}
        return {"loss": loss * (float("nan") if knobs.get("does") == "nan" else 1), "logits": logits}


class Normalised(Tiny):
    """Cannot train on a single row."""

    def create_model(self, cfg):
        return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))


class Wide(Tiny):
    """As wide as a knob says; `peeks` reads a number of a weight, which fake tensors do not have."""

    def create_model(self, cfg):
        knobs = cfg["user_knobs"]
        first = nn.Linear(8, knobs["width"])
        if knobs.get("peeks"):
            assert first.weight.sum().item() != 0.5
        return nn.Sequential(first, nn.ReLU(), nn.Linear(knobs["width"], 2))


def misbehave(how):
    match how:
        case "raise":
            raise ValueError("the data are\nnot to my liking")
        case "exit":
            sys.exit(7)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit hard":
            os._exit(5)
        case "segfault":
            ctypes.string_at(0)
        case "hang":
            deaf_sleep()
        case "devour":
            torch.empty(2**50, dtype=torch.uint8)
        case "flood":
            os.write(1, b"noise\n" * 2**23)
            time.sleep(0.5)  # what is printed while a log is set aside may be lost
            print("the last words")
        case "litter":
            print("cleared away" if cleared_away() else "kept")
        case "child":
            if first("child"):
                Path("child").write_text(str(subprocess.Popen(["sleep", "600"]).pid))
            Path("trained").touch()
        case str() if how.endswith(" once"):
            misbehave_once(how)


def misbehave_once(how):
    match how:
        case "kill once":
            if first("killed"):
                os.kill(os.getpid(), signal.SIGKILL)
        case "fork and kill once":
            if first("forked"):
                if os.fork() == 0:
                    time.sleep(600)
                os.kill(os.getpid(), signal.SIGKILL)
        case "devour once":
            if first("devoured"):
                torch.empty(2**50, dtype=torch.uint8)
        case "hang once":
            if not first("begun") and first("hung"):  # a run's first step may take long
                deaf_sleep()


def cleared_away():
    """Whether objects that only point to each other go, as time goes by."""
    litter = nn.Identity()
    litter.self = [litter]
    seen = weakref.ref(litter)
    del litter
    made = [[] for _ in range(100_000)]
    return bool(made) and seen() is None


def first(name):
    """Whether nobody asked before."""
    marker = Path(name)
    if marker.exists():
        return False
    marker.touch()
    return True


def deaf_sleep():
    """Hang, and take no request to end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(60)


class WithoutModel(MLSpec):
    """Lacks create_model."""

    def compute_forward(self, model, batch, cfg):
        return {"loss": model(batch)}


class Knobbed(Tiny):
    """Reads `width` always, `depth` where it is set, and of a model only what that model has."""

    def create_model(self, cfg):
        knobs = cfg["user_knobs"]
        if knobs["model"] == "a":
            knobs.get("depth", 1)
        return nn.Sequential(nn.Linear(8, knobs["width"]), nn.Linear(knobs["width"], 2))


class WithHead(Tiny):
    """Measures something whose name holds a dot."""

    def metrics(self, cfg):
        from torchmetrics.classification import BinaryF1Score

        class OfHead(BinaryF1Score):
            def update(self, logits, labels):
                super().update(logits.argmax(1), labels)

        return {"head.f1": OfHead()}
