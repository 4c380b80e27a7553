"""A method returns what it must not: the cause names the method, what it returned, and what is expected."""

import pytest
import torch
from torch import nn

from tests.training.sandbox import TrainingSandbox, leaf
from tests.training.specs import Plain

SCALAR = "compute_forward must return a mapping with a scalar `loss`; it returned "
FITTING = "labels (B,) need logits (B, C) or (B,), and labels (B, T) need (B, T, C) or (B, C, T)"
GRADIENT = "it does not depend on a trained parameter, was detached, or computed under no_grad"


class Returning(Plain):
    """Its method `user_knobs.method` returns what the case of this name makes of what is right."""

    def load_data(self, data, cfg):
        return changed(cfg, "load_data", super().load_data(data, cfg))

    def create_model(self, cfg):
        return changed(cfg, "create_model", super().create_model(cfg))

    def row_prep(self, row, cfg, mode):
        return changed(cfg, "row_prep", super().row_prep(row, cfg, mode))

    def collate(self, rows, cfg):
        return changed(cfg, "collate", super().collate(rows, cfg))

    def compute_forward(self, model, batch, cfg):
        return changed(cfg, "compute_forward", super().compute_forward(model, batch, cfg))

    def metrics(self, cfg):
        return changed(cfg, "metrics", super().metrics(cfg))

    def metric_inputs(self, outputs, batch, cfg):
        return changed(cfg, "metric_inputs", super().metric_inputs(outputs, batch, cfg))


def changed(cfg, method, right):
    """What is right, or what the case at hand returns instead."""
    here, change, _ = CASES[cfg["user_knobs"]["case"]]
    return change(right) if here == method else right


def frozen(model):
    return model.requires_grad_(False)


CASES = {
    "splits": (
        "load_data",
        lambda _: None,
        "load_data must return a mapping of splits that includes `train`; it returned None",
    ),
    "no model": (
        "create_model",
        lambda _: None,
        "create_model must return a torch.nn.Module; it returned None",
    ),
    "class": (
        "create_model",
        lambda _: nn.ReLU,
        "create_model must return a torch.nn.Module; it returned the class ReLU; return ReLU(…), an instance",
    ),
    "frozen": (
        "create_model",
        frozen,
        "no parameter of the model requires a gradient, so there is nothing to train",
    ),
    "row": (
        "row_prep",
        lambda _: None,
        "row 0 of `train`: row_prep must return a dict of tensors and numbers; it returned None",
    ),
    "batch": (
        "collate",
        lambda _: None,
        "a batch of `train` cannot be collated: rows 3, 36, 33, …: "
        "collate must return the rows as one batch; it returned None",
    ),
    "tensor": ("compute_forward", lambda right: right["loss"], f"{SCALAR}a Tensor of shape ()"),
    "nothing": ("compute_forward", lambda _: None, f"{SCALAR}None"),
    "pair": ("compute_forward", lambda right: (right["loss"], right["logits"]), f"{SCALAR}a tuple of 2"),
    "per row": (
        "compute_forward",
        lambda right: {**right, "loss": right["logits"].sum(1)},
        f"{SCALAR}a `loss` that is a Tensor of shape (8,); return its mean",
    ),
    "float": (
        "compute_forward",
        lambda right: {**right, "loss": right["loss"].item()},
        f"{SCALAR}a `loss` that is a float",
    ),
    "detached": (
        "compute_forward",
        lambda right: {**right, "loss": right["loss"].detach()},
        f"compute_forward returned a `loss` without a gradient: {GRADIENT}",
    ),
    "logits": (
        "compute_forward",
        lambda right: {**right, "logits": right["logits"][:4]},
        f"metrics cannot be computed from logits (4, 3) and labels (8,); {FITTING}",
    ),
    "labels": (
        "compute_forward",
        lambda right: {**right, "labels": torch.tensor(1)},
        "metrics need `labels` of every row (B, …), not a single number",
    ),
    "no metrics": ("metrics", lambda _: None, "`metrics` returned None, not a dict"),
    "inputs": (
        "metric_inputs",
        lambda right: right[0],
        "metric_inputs must return two tensors, (logits, labels); it returned a Tensor of shape (8, 3)",
    ),
    "no labels": (
        "metric_inputs",
        lambda right: (right[0], None),
        "metric_inputs must return two tensors, (logits, labels); "
        "it returned a tuple of 2 (a Tensor of shape (8, 3), None)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_cause_names_the_method_what_it_returned_and_what_is_expected(tmp_path, case):
    place = TrainingSandbox(tmp_path, f"{__name__}:Returning")
    place.train(leaf(user_knobs={"case": case}), until=1)
    failure = place.failure()

    assert (failure.kind, failure.cause, failure.step) == ("error", CASES[case][2], 0)
