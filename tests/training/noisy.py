"""MLSpecs whose rows and batches draw from every generator; quick to import, for data workers."""

import os
import random
import signal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from rapidfire_cli.mlspec import MLSpec
from tests.training.noisy_helpers import shaken

SPEC = f"{__name__}:Everywhere"
FRAGILE = f"{__name__}:Fragile"
TESTS = os.environ.setdefault("RAPIDFIRE_TESTS_PROCESS", str(os.getpid()))  # data workers inherit it
ROWS = {"train": 37, "validation": 15}


class Blobs(MLSpec):
    """Three classes of points."""

    def load_data(self, data, cfg):
        generator = torch.Generator().manual_seed(3)
        return {split: [blob(generator, index) for index in range(rows)] for split, rows in ROWS.items()}

    def create_model(self, cfg):
        return nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.Linear(8, 3))

    def compute_forward(self, model, batch, cfg):
        logits = model(batch["x"])
        return {"loss": functional.cross_entropy(logits, batch["labels"]), "logits": logits}


def blob(generator, index):
    """A row."""
    return {"x": torch.randn(6, generator=generator) + index % 3, "labels": index % 3}


def noise():
    """A number from each global generator."""
    return torch.tensor([random.gauss(0, 1), np.random.randn(), torch.randn(()).item()])


class Everywhere(Blobs):
    """Rows draw from every generator: global ones, on `self`, of the dataset, of helpers, without a seed."""

    def load_data(self, data, cfg):
        return {split: Noisy(rows) for split, rows in super().load_data(data, cfg).items()}

    def initialize_run(self, misc_path, cfg, mode):
        self.own = [np.random.default_rng(), np.random.RandomState(3), random.Random(4), torch.Generator()]

    def row_prep(self, row, cfg, mode):
        numpy, legacy, python, torchs = self.own
        drawn = [numpy.normal(), legacy.randn(), python.gauss(0, 1), torch.randn((), generator=torchs).item()]
        return {**row, "drawn": torch.cat((noise(), torch.tensor(drawn + shaken())))}

    def collate(self, rows, cfg):
        batch = super().collate(rows, cfg)
        shift = batch["drawn"].sum(1, keepdim=True) + noise().sum() + sum(shaken())
        return {**batch, "x": batch["x"] + shift, "joined": noise()}


class Noisy:
    """Rows that the dataset itself makes noisy."""

    def __init__(self, rows):
        self.rows = rows
        self.generator = np.random.default_rng()

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return {**self.rows[index], "noise": noise() + self.generator.normal()}


class Fragile(Everywhere):
    """Fails as the run's knob says; `bad` marks the row that does."""

    def initialize_run(self, misc_path, cfg, mode):
        super().initialize_run(misc_path, cfg, mode)
        fail = cfg["user_knobs"].get("fail")
        if fail == "die while opening" and in_data_worker():
            os.kill(os.getpid(), signal.SIGKILL)
        if fail == "raise while opening" and in_data_worker():
            raise OSError("only one process may do this")

    def row_prep(self, row, cfg, mode):
        fail = cfg["user_knobs"].get("fail") if row["bad"] and mode == "train" else None
        if fail == "raise":
            raise ValueError("a bad row")
        if fail == "die" and in_data_worker():
            os.kill(os.getpid(), signal.SIGKILL)
        row = super().row_prep(row, cfg, mode)
        return {**row, "x": row["x"][:5]} if fail == "shrink" else row

    def load_data(self, data, cfg):
        splits = super().load_data(data, cfg)
        for noisy in splits.values():
            noisy.rows[:] = [{**row, "bad": index == 33} for index, row in enumerate(noisy.rows)]
        return splits


def in_data_worker():
    """Whether this is a process of the pool."""
    return str(os.getpid()) != TESTS
