"""MLSpecs of trained runs that are used."""

import torch
from torch import nn
from torch.nn import functional

from tests.training.specs import Blobs


class Points(Blobs):
    """The blobs of one file's rows: columns `a` and `b`; a batch to predict must have no labels."""

    def load_data(self, data, cfg):
        generator = torch.Generator().manual_seed(0)
        rows = [
            {"a": a, "b": b, "labels": int(a > b)}
            for a, b in torch.randn(40, 2, generator=generator).tolist()
        ]
        return {"train": rows[:24], "validation": rows[24:], "test": rows[30:]}

    def row_prep(self, row, cfg, mode):
        prepared = {"x": torch.tensor([row["a"], row["b"]])}
        return prepared | ({"labels": row["labels"]} if "labels" in row else {})

    def create_model(self, cfg):
        return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))

    def compute_forward(self, model, batch, cfg):
        if "labels" not in batch:
            return {"logits": model(batch["x"])}
        return super().compute_forward(model, batch, cfg)


class Own(Points):
    """Says itself what a prediction is: tensors, arrays and lists."""

    def predictions(self, outputs, batch, cfg):
        return [{"first": one[0], "all": one, "nan": float("nan")} for one in outputs["logits"]]


class Uneven(Own):
    """Predicts a row too few."""

    def predictions(self, outputs, batch, cfg):
        return super().predictions(outputs, batch, cfg)[1:]


class Breaking(Own):
    """Fails at its third row."""

    def predictions(self, outputs, batch, cfg):
        self.seen = getattr(self, "seen", 0) + 1
        if self.seen > 2:
            raise ValueError("enough")
        return super().predictions(outputs, batch, cfg)


class Line(Points):
    """Learns a value."""

    def create_model(self, cfg):
        return nn.Linear(2, 1)

    def compute_forward(self, model, batch, cfg):
        logits = model(batch["x"]).flatten()
        if "labels" not in batch:
            return {"logits": logits}
        labels = batch["labels"].float()
        return {"loss": functional.mse_loss(logits, labels), "logits": logits, "labels": labels}


class Tied(Points):
    """Two layers share their weights."""

    def create_model(self, cfg):
        first = nn.Linear(2, 2)
        second = nn.Linear(2, 2)
        second.weight = first.weight
        return nn.Sequential(first, nn.BatchNorm1d(2), second)


class Counting(Points):
    """Its training changes a plain attribute of the MLSpec and of the model, on which outputs depend."""

    def initialize_run(self, misc_path, cfg, mode):
        self.modes = [mode]
        self.scale = 1.0

    def compute_forward(self, model, batch, cfg):
        if model.training:
            self.scale += 0.01
        outputs = super().compute_forward(model, batch, cfg)
        return {**outputs, "logits": outputs["logits"] * self.scale}


class Pictures(Points):
    """Predicts the shade of an image."""

    def row_prep(self, row, cfg, mode):
        if mode != "predict":
            return super().row_prep(row, cfg, mode)
        return {"x": torch.tensor([float(row["image"].getpixel((0, 0))), 0.0])}

    def predictions(self, outputs, batch, cfg):
        return [{"shade": shade} for shade in batch["x"][:, 0]]


class Shaken(Points):
    """Shakes rows at random, in validation too."""

    def row_prep(self, row, cfg, mode):
        prepared = super().row_prep(row, cfg, mode)
        return {**prepared, "x": prepared["x"] + torch.randn(2)}
