"""What the knobs of `train` do to a run."""

import tracemalloc

import pytest
import torch

from rapidfire_cli.training.batches import cut
from tests.training import specs
from tests.training.sandbox import TrainingSandbox, leaf, same

SGD = {"name": "SGD", "args": {"lr": 0.1}}


def trained(directory, spec="Plain", **knobs):
    place = TrainingSandbox(directory, spec)
    place.train(leaf(SGD, **knobs), until=3)
    return place


def test_accumulated_batches_step_as_one_big_batch_even_the_last_smaller_ones(tmp_path):
    big = trained(tmp_path / "big", batch_size=12)  # 37 rows: three steps of 12 and one of 1
    small = trained(tmp_path / "small", batch_size=5, grad_accumulation=2)  # steps of 5 + 5 … and of 5 + 2
    tens = trained(tmp_path / "tens", batch_size=10)

    for name, weight in tens.weights().items():
        torch.testing.assert_close(small.weights()[name], weight)
    assert not same(big.weights(), tens.weights())


def test_an_accumulated_step_counts_once(tmp_path):
    place = TrainingSandbox(tmp_path, "Plain")
    ended = place.train(leaf(SGD, batch_size=5, grad_accumulation=2), until=1)[-1]

    assert ended.step == 4


def test_gradients_are_clipped_to_their_norm(tmp_path):
    free, clipped = trained(tmp_path / "free"), trained(tmp_path / "clipped", max_grad_norm=1e-9)

    torch.manual_seed(0)
    initial = TrainingSandbox(tmp_path / "initial", "Plain")
    initial.train(leaf({"name": "SGD", "args": {"lr": 0.0}}), until=3)
    for name, weight in initial.weights().items():
        torch.testing.assert_close(clipped.weights()[name], weight)
        assert not torch.allclose(free.weights()[name], weight)


def test_bf16_computes_the_forward_pass_in_bf16_and_keeps_weights_in_fp32(tmp_path):
    half = trained(tmp_path, "Watched", precision="bf16")

    assert specs.Watched.dtypes == {torch.bfloat16}
    assert {weight.dtype for weight in half.weights().values()} == {torch.float32}


def test_evaluation_has_a_batch_size_of_its_own_that_changes_no_metric(tmp_path):
    place, other = trained(tmp_path / "a", "Watched"), trained(tmp_path / "b", "Watched", eval_batch_size=3)

    assert specs.Watched.largest["validation"] == 3
    assert same(place.weights(), other.weights())
    for epoch, values in place.epochs().items():
        assert other.epochs()[epoch] == pytest.approx(values)


def test_validation_neither_trains_nor_drops_out(tmp_path):
    place = TrainingSandbox(tmp_path, "Watched")
    place.train(leaf({"name": "SGD", "args": {"lr": 0.0}}), until=3)

    validations = {values["validation", "loss"] for values in place.epochs().values()}
    assert len(validations) == 1


def test_a_run_without_validation_split_has_training_metrics_only(tmp_path):
    place = trained(tmp_path, "TrainOnly")

    assert place.epochs()[3].keys() == {("train", "loss"), ("train", "top1_accuracy")}


def test_the_epochs_loss_is_the_mean_over_its_rows(tmp_path):
    place = TrainingSandbox(tmp_path, "Plain")
    place.train(leaf({"name": "SGD", "args": {"lr": 0.0}}, epochs=2, batch_size=8), until=1)
    place.train(leaf({"name": "SGD", "args": {"lr": 0.0}}, epochs=2, batch_size=37), until=1, run=2)

    assert place.epochs(1)[1]["train", "loss"] == pytest.approx(place.epochs(2)[1]["train", "loss"])


def test_deterministic_is_asked_of_torch(tmp_path):
    modes = []
    for knobs in ({}, {"deterministic": True}, {"deterministic": False}):
        place = trained(tmp_path / str(len(modes)), "Telling", **knobs)
        modes.append(place.log().splitlines()[-1])

    assert modes == ["mode 1", "mode 2", "mode 0"]  # warn, raise, neither


def test_a_compiled_model_keeps_its_weights_names(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", torch.nn.DataParallel)  # wraps as torch.compile does, in no time
    place = trained(tmp_path, compile=True)

    assert same(place.weights(), trained(tmp_path / "plain").weights())


@pytest.mark.parametrize("steps", [1_000, 100_000])
def test_an_epochs_order_is_cut_into_steps_as_they_come(steps):
    order = torch.arange(8 * steps)
    kept = []
    tracemalloc.start()
    try:
        for rows in cut(order, 8):
            kept = [rows]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept[0].tolist() == order[-8:].tolist()
    assert peak < 50_000


def test_steps_have_the_rows_that_torch_split_gives_them():
    order = torch.randperm(21)

    assert [rows.tolist() for rows in cut(order, 4)] == [rows.tolist() for rows in torch.split(order, 4)]
