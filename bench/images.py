"""The MLSpecs of `bench.data`: pictures that are resized or cropped, and a model that takes no time."""

import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from rapidfire_cli.mlspec import MLSpec

SIDE = 64  # pixels of a prepared picture
STEP = 0.01  # seconds: a stand-in for what a GPU takes


def opened(path):
    """A picture."""
    with Image.open(path) as picture:
        return picture.convert("RGB")


def tensor(picture):
    """A picture as bytes (SIDE, SIDE, 3)."""
    return torch.from_numpy(np.array(picture))


def resized(path):
    """The whole picture, made small."""
    return tensor(opened(path).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def cropped(path):
    """A part of the picture, another one each time, made small."""
    left, top = torch.randint(0, 64, (2,)).tolist()
    box = (left, top, left + 192, top + 192)
    return tensor(opened(path).resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))


class Resized(MLSpec):
    """Rows that are the same each time."""

    def load_data(self, data, cfg):
        return {"train": [{"path": f"{path}"} for path in sorted(Path(data["path"]).iterdir())]}

    def row_prep(self, row, cfg, mode):
        return {"x": resized(row["path"])}

    def create_model(self, cfg):
        return nn.Linear(3, 1)

    def compute_forward(self, model, batch, cfg):
        return {"loss": model(batch["x"][:, 0, 0].float()).mean()}


late = [0.0]
"""The seconds by which steps woke up too late, added up: their processor was busy."""


def step():
    """Wait as for a GPU."""
    began = time.perf_counter()
    time.sleep(STEP)
    late[0] += time.perf_counter() - began - STEP


class Cropped(Resized):
    """Random crops, and a step that waits as for a GPU."""

    def row_prep(self, row, cfg, mode):
        return {"x": cropped(row["path"])}

    def compute_forward(self, model, batch, cfg):
        step()
        return super().compute_forward(model, batch, cfg)
