"""A tiny model on rows that know their index; one row can strike the process that trains it, once."""

import os
import signal
import time
from pathlib import Path

import torch
from torch import nn

from rapidfire_cli.mlspec import MLSpec

ROWS, VALIDATION = 25, 13


def rows(count: int, seed: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=generator)
    labels = (x.sum(1) > 0).long()
    return [{"index": torch.tensor(i), "x": x[i], "labels": labels[i]} for i in range(count)]


class Shared(MLSpec):
    """`strike` says what happens to the first process that trains a row: `kill 7`.

    With `validated`, it is a row of validation; with `again`, the row is read a second time.
    """

    def initialize_run(self, misc_path, cfg, mode):
        self.marker = Path(misc_path, f"struck-{cfg['user_knobs']['strike']}".replace(" ", "-"))

    def load_data(self, data, cfg):
        return {"train": rows(ROWS, 1), "validation": rows(VALIDATION, 2)}

    def create_model(self, cfg):
        layers = nn.Linear(6, 8), nn.Tanh(), nn.Dropout(cfg["user_knobs"]["dropout"]), nn.Linear(8, 2)
        return nn.Sequential(*layers)

    def row_prep(self, row, cfg, mode):
        return {"x": torch.tensor(row["x"])} if mode == "predict" else row

    def compute_forward(self, model, batch, cfg):
        if cfg["user_knobs"]["strike"] != "nothing":
            how, row, *when = cfg["user_knobs"]["strike"].split()
            is_there = model.training is ("validated" not in when) and int(row) in batch["index"].tolist()
            first = self.marker.with_suffix(".first")
            if is_there and "again" in when and not first.exists():
                first.touch()
            elif is_there and not self.marker.exists():
                self.marker.touch()
                strike(how, self.marker)
        logits = model(batch["x"])
        if "labels" not in batch:
            return {"logits": logits}
        loss = nn.functional.cross_entropy(logits, batch["labels"])
        return {
            "loss": loss,
            "logits": logits,
            "labels": batch["labels"],
            "size": logits.abs().mean(),
        }


class Normed(Shared):
    """With batch normalisation, of which each device has its own rows only."""

    def create_model(self, cfg):
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def strike(how: str, marker: Path) -> None:
    match how:
        case "linger":
            while marker.exists():
                time.sleep(0.01)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "freeze":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "stop":
            os.kill(os.getppid(), signal.SIGINT)
        case "starve":
            raise torch.OutOfMemoryError("no memory left")
        case "raise":
            raise ValueError("a bad row")
