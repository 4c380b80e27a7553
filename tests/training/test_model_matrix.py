"""Models of many kinds end with the same bits, undisturbed or moved to another process inside each epoch.

`compile: true` is not among them: docs/mlspec.md keeps it outside of the promise.
"""

import pytest
import torch

from rapidfire_cli.training.weights import read
from tests.shares import share
from tests.training.sandbox import ADAM, TrainingSandbox, leaf, same

HERE = "tests.training.matrix_specs:"
SPARSE = {"name": "SparseAdam", "args": {"lr": 0.1}}
SGD = {"name": "SGD", "args": {"lr": 0.1, "momentum": 0.9}}
GROUPED = {"name": "AdamW", "args": {"lr": 0.01}, "groups": [{"match": "*.bias", "weight_decay": 0}]}
SEVERAL = [{**SGD, "match": "*lora_A*"}, GROUPED]
CASES = {
    "bf16": ("Buffered", {"precision": "bf16"}),
    "fp16": ("Buffered", {"precision": "fp16"}),
    "weights in bf16": ("Half", {}),
    "computed weights": ("Normed", {"optimizer": GROUPED}),
    "tied, buffered, normalised": ("Buffered", {"grad_accumulation": 2}),
    "sparse": ("Bags", {"optimizer": [{**SPARSE, "match": "0.weight"}, ADAM], "max_grad_norm": 1.0}),
    "checkpointed": ("Language", {"precision": "bf16"}),
    "checkpointed, reentrant": ("Language", {"user_knobs": {"reentrant": True}}),
    "adapters, groups, optimizers": ("Adapted", {"optimizer": SEVERAL}),
}


@pytest.mark.parametrize("case", share(CASES, 2))
def test_it_ends_with_the_same_bits_however_it_is_moved(tmp_path, case):
    spec, knobs = CASES[case]
    config = leaf(epochs=2, named_metrics=("token_accuracy",), batch_size=10, **knobs)
    whole = TrainingSandbox(tmp_path / "whole", HERE + spec)
    whole.train(config, until=2)
    for tick in range(1, 5):
        moved = TrainingSandbox(tmp_path / "moved", HERE + spec, chunks=2)
        moved.train(config, until=tick)
        moved.evict()

    assert moved.epochs() == whole.epochs() != {}
    assert same(final(moved), final(whole))


def final(place):
    (path,) = (place.directory / "1").glob("final.*")
    return read(path)


def test_checkpoints_hold_the_gradient_scaler(tmp_path):
    place = TrainingSandbox(tmp_path, HERE + "Buffered", chunks=2)
    place.train(leaf(batch_size=10, precision="fp16"), until=1)
    place.evict()
    state = torch.load(place.checkpoints()[-1] / "state.pt", weights_only=True)

    assert 0 < state["scaler"]["scale"] < 2.0**16  # which overflowed in the first steps


def test_sparse_adam_names_the_parameter_whose_gradient_is_dense(tmp_path):
    place = TrainingSandbox(tmp_path, HERE + "Bags")
    place.train(leaf(SPARSE), until=1)

    cause = "SparseAdam needs sparse gradients, but the gradient of `1.weight` is dense"
    assert place.failure().cause.startswith(cause)
    assert place.failure().step == 0
