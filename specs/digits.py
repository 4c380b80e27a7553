"""Handwritten digits: 1,797 scans of 8 × 8 pixels that come with scikit-learn, for an MLP or a small CNN."""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from rapidfire_cli.mlspec import MLSpec


class DigitsSpec(MLSpec):
    """`user_knobs.model` is `mlp` or `cnn`; `hidden` and `dropout` shape either."""

    def load_data(self, data, cfg):
        """A fifth of the scans is held out for validation, every digit in its share; always the same ones."""
        scans = load_digits()
        images = torch.tensor(scans.images, dtype=torch.float32) / 16  # pixels are 0 to 16
        labels = torch.tensor(scans.target)
        share = data.get("validation_share", 0.2)
        train, held_out = train_test_split(
            torch.arange(len(labels)), test_size=share, stratify=scans.target, random_state=0
        )
        return {
            "train": TensorDataset(images[train], labels[train]),
            "validation": TensorDataset(images[held_out], labels[held_out]),
        }

    def row_prep(self, row, cfg, mode):
        """One scan (1, 8, 8) and its digit; to predict, the pixels from 0 to 16 alone."""
        if mode == "predict":
            return {"image": torch.tensor(row["image"], dtype=torch.float32).unsqueeze(0) / 16}
        image, label = row
        return {"image": image.unsqueeze(0), "labels": label}

    def create_model(self, cfg):
        """From images (B, 1, 8, 8) to logits (B, 10)."""
        knobs = cfg["user_knobs"]
        build = {"mlp": mlp, "cnn": cnn}[knobs["model"]]
        return build(knobs.get("hidden", 64), knobs.get("dropout", 0.0))

    def compute_forward(self, model, batch, cfg):
        """Cross entropy over the ten digits, where they are known."""
        logits = model(batch["image"])
        if "labels" not in batch:
            return {"logits": logits}
        return {"loss": functional.cross_entropy(logits, batch["labels"]), "logits": logits}


def mlp(hidden: int, dropout: float) -> nn.Module:
    """Two hidden layers."""
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(dropout)),
        *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10)),
    )


def cnn(hidden: int, dropout: float) -> nn.Module:
    """Two convolutions, then a hidden layer."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(dropout), nn.Linear(512, hidden), nn.ReLU()),
        nn.Linear(hidden, 10),
    )
