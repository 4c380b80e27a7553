"""Every optimizer of torch.optim trains, by its name in any case, to the bits that a loop by hand gives."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from rapidfire_cli.training import optimizers, rng
from rapidfire_cli.training.optimizers import OPTIMIZERS
from tests.training.specs import Plain
from tests.training.workplace import Workplace, leaf, same

NAMES = sorted(cls.__name__ for cls in OPTIMIZERS.classes.values())
SPECS = {"SparseAdam": "Sparse"}
CPU = torch.device("cpu")


def section(name, **args):
    return {"name": name, "args": args}


def test_they_are_all_there():
    assert {"Adadelta", "Adafactor", "Adam", "AdamW", "LBFGS", "Muon", "RMSprop", "SGD", "SparseAdam"} <= {
        *NAMES
    }


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_and_continues_bit_for_bit(name, tmp_path):
    spec = SPECS.get(name, "Plain")
    config = leaf(section(name.upper(), lr=0.01), epochs=2)
    whole = Workplace(tmp_path / "whole", spec)
    whole.train(config, until=2)

    stopped = Workplace(tmp_path / "stopped", spec)
    stopped.stop_at = 3
    stopped.train(config, until=2)
    continued = Workplace(tmp_path / "stopped", spec)
    continued.train(config, until=2)

    assert same(continued.weights(), whole.weights())
    losses = [values["train", "loss"] for values in whole.epochs().values()]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("name", ["SGD", "Adam", "LBFGS"])
def test_it_trains_as_a_loop_by_hand(name, tmp_path):
    place = Workplace(tmp_path, "Plain")
    place.train(leaf(section(name, lr=0.05), epochs=2, batch_size=8), until=2)

    spec = Plain()
    rows = spec.load_data({}, {})["train"]
    inputs = torch.stack([row["x"] for row in rows])
    labels = torch.tensor([row["labels"] for row in rows])
    torch.manual_seed(rng.derive(42, "create_model"))
    model = spec.create_model({})
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.05)
    for epoch in (1, 2):
        total = 0.0
        for batch in rng.order(42, epoch, len(rows)).split(8):

            def loss(batch=batch):
                optimizer.zero_grad()
                value = functional.cross_entropy(model(inputs[batch]), labels[batch])
                value.backward()
                return value

            total += optimizer.step(loss).item() * len(batch)
        assert place.epochs()[epoch]["train", "loss"] == total / len(rows)

    assert same(place.weights(), dict(model.state_dict()))


def test_lists_are_given_as_the_tuples_torch_declares():
    built = optimizers.build(section("adam", betas=[0.8, 0.9]), nn.Linear(2, 2))

    assert built.defaults["betas"] == (0.8, 0.9)


@pytest.mark.parametrize(
    ("said", "settled"), [({}, False), ({"foreach": True}, True), ({"foreach": False}, False)]
)
def test_what_torch_finds_out_at_every_step_is_settled_unless_the_file_does(said, settled):
    built = optimizers.build(section("Adam", **said), nn.Linear(2, 2))

    assert [group["foreach"] for group in built.param_groups] == [settled]


@pytest.mark.parametrize("name", sorted({*optimizers.OPTIMIZERS.classes} - {"muon", "lbfgs", "sparseadam"}))
def test_a_settled_optimizer_steps_to_the_bits_of_one_that_finds_out(name):
    models = [nn.Linear(3, 2, device="cpu") for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    ours = optimizers.build(section(name), models[0])
    theirs = optimizers.OPTIMIZERS.classes[name](models[1].parameters())
    for _ in range(3):
        for model, optimizer in zip(models, (ours, theirs), strict=True):
            optimizer.zero_grad()
            functional.mse_loss(model(torch.ones(4, 3)), torch.zeros(4, 2)).backward()
            optimizer.step()

    assert same(models[0].state_dict(), models[1].state_dict())


def test_what_torch_refuses_fails_the_run_in_one_line(tmp_path):
    place = Workplace(tmp_path)
    place.train(leaf(section("Muon")), until=1)

    assert place.failure().cause.startswith("ValueError: Muon only supports 2D parameters")


@pytest.mark.parametrize(
    ("name", "args", "at"),
    [
        ("Adam", {"lr": "1e-3"}, ["lr"]),
        ("Adam", {"lr": -0.1}, ["lr"]),
        ("Adam", {"lr": True}, ["lr"]),
        ("Adam", {"lr": None}, ["lr"]),
        ("Adam", {"eps": 1e-8, "lr": -0.1, "betas": [0.9, 2.0]}, ["lr", "betas"]),
        ("Adam", {"betas": [0.9]}, ["betas"]),
        ("Adam", {"betas": ["0.9", 0.99]}, ["betas"]),
        ("Adam", {"betas": [0.9, 0.99, 0.999], "lr": -1.0}, ["betas", "lr"]),
        ("Adam", {"amsgrad": "yes"}, ["amsgrad"]),
        ("Adam", {"lr": 0.1, "fused": True, "foreach": True}, ["fused"]),
        ("Adam", {"differentiable": True}, ["differentiable"]),
        ("SGD", {"lr": 0.1, "nesterov": True}, ["nesterov"]),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "nesterov": True}, ["dampening"]),
        ("Muon", {"adjust_lr_fn": "of my own"}, ["adjust_lr_fn"]),
        ("LBFGS", {"line_search_fn": "wolfe"}, ["line_search_fn"]),
        ("LBFGS", {"max_iter": 2.5}, ["max_iter"]),
        ("RMSprop", {"momentum": -1}, ["momentum"]),
    ],
)
def test_values_that_an_optimizer_rejects_are_found_before_anything_is_trained(name, args, at):
    wrong = section(name, **args)
    found = [*optimizers.check(wrong), *optimizers.rehearse(wrong, CPU)]

    assert [(finding.code, finding.path) for finding in found] == [
        ("E406", ("train", "optimizer", "args", key)) for key in at
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_passes_its_rehearsal(name):
    assert optimizers.rehearse(section(name, lr=0.01), CPU) == []


def test_a_rejected_value_is_quoted_with_what_torch_says():
    (quoted,) = optimizers.check(section("Adam", lr="1e-3"))
    (negative,) = optimizers.rehearse(section("Adam", lr=-0.1), CPU)

    assert (quoted.found, quoted.expected, quoted.hint) == (
        'a string, "1e-3"',
        "a number",
        "write 1e-3 without quotes",
    )
    assert negative.message == "Adam rejects `lr`: Invalid learning rate: -0.1"


def test_an_argument_it_does_not_take_is_reported_with_those_it_takes():
    (finding,) = optimizers.check(section("Adam", lr=1e-4, momentum=0.9, weight_decay=1e-5))

    assert finding.code == "E402"
    assert finding.path == ("train", "optimizer", "args", "momentum")
    assert finding.message == "Adam takes no `momentum`"
    assert finding.expected.startswith("one of lr, betas, eps, weight_decay, amsgrad")
    assert finding.hint == "`momentum` is taken by Muon, RMSprop, SGD"


def test_a_misspelt_argument_or_name_gets_the_nearest():
    (argument,) = optimizers.check(section("SGD", momentun=0.9))
    (name,) = optimizers.check(section("AdmaW"))

    assert argument.hint == "did you mean `momentum`?"
    assert (name.code, name.hint) == ("E401", "did you mean `AdamW`?")
