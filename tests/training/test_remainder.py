"""The end of an epoch: rows that fill no batch are trained on, dropped, or refused."""

import pytest
import torch
from torch.nn import functional

from rapidfire_cli.training import rng
from tests.training.sandbox import TrainingSandbox, leaf, same
from tests.training.specs import Plain

SGD = {"name": "SGD", "args": {"lr": 0.1}}


def trained(tmp_path, spec="Plain", until=2, **train):
    place = TrainingSandbox(tmp_path, spec)
    place.train(leaf(SGD, epochs=until, **train), until=until)
    return place


@pytest.mark.parametrize("accumulation", [1, 3])
def test_dropping_the_last_batch_trains_as_a_loop_by_hand(tmp_path, accumulation):
    place = trained(tmp_path, batch_size=7, drop_last=True, grad_accumulation=accumulation)

    spec = Plain()
    rows = spec.load_data({}, {})["train"]
    whole = len(rows) // 7 * 7
    assert 0 < whole < len(rows)
    inputs = torch.stack([row["x"] for row in rows])
    labels = torch.tensor([row["labels"] for row in rows])
    torch.manual_seed(rng.derive(42, "create_model"))
    model = spec.create_model({})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in (1, 2):
        for step in rng.order(42, epoch, len(rows))[:whole].split(7 * accumulation):
            optimizer.zero_grad()
            for batch in step.split(7):
                share = len(batch) / len(step)
                (functional.cross_entropy(model(inputs[batch]), labels[batch]) * share).backward()
            optimizer.step()

    for name, weight in model.state_dict().items():
        torch.testing.assert_close(place.weights()[name], weight)


def test_without_a_rest_there_is_nothing_to_drop(tmp_path):
    dropped = trained(tmp_path / "dropped", batch_size=37, drop_last=True)
    kept = trained(tmp_path / "kept", batch_size=37)

    assert same(dropped.weights(), kept.weights())


def test_a_run_that_drops_every_row_fails_before_it_trains(tmp_path):
    failure = trained(tmp_path, batch_size=64, drop_last=True).failure()

    assert (
        failure.cause == "train.drop_last leaves no batch: the train split has 37 rows, and batch_size is 64"
    )
    assert failure.step == 0


@pytest.mark.parametrize("size", [4, 9, 36])
def test_a_last_batch_of_one_row_fails_a_normalised_model_before_it_trains(tmp_path, size):
    failure = trained(tmp_path, "Blobs", batch_size=size).failure()

    assert failure.step == 0
    assert failure.cause.startswith(
        "an epoch ends with a batch of one row, which fails: ValueError: Expected more"
    )
    assert failure.cause.endswith("set `train.drop_last: true`, or another batch_size")


@pytest.mark.parametrize(("size", "drop"), [(36, True), (8, False), (7, False), (1, True)])
def test_other_ends_of_an_epoch_train(tmp_path, size, drop):
    spec = "Blobs" if size > 1 else "Plain"
    assert trained(tmp_path, spec, batch_size=size, drop_last=drop).epochs().keys() == {1, 2}


def test_trying_the_last_row_leaves_nothing_behind(tmp_path, monkeypatch):
    tried = trained(tmp_path / "tried", "Moody", batch_size=9)
    monkeypatch.setattr("rapidfire_cli.training.remainder._alone", lambda run, kept: None)
    untried = trained(tmp_path / "untried", "Moody", batch_size=9)

    assert same(tried.weights(), untried.weights())
    assert tried.epochs() == untried.epochs()


def test_a_batch_with_room_for_more_rows_than_there_are_is_told(tmp_path, capfd):
    trained(tmp_path, batch_size=64, until=1)

    log = "".join(path.read_text() for path in tmp_path.rglob("log.txt"))
    assert "batch_size is 64, but the train split has only 37 rows" in log + capfd.readouterr().err
