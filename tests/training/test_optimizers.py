"""Every optimizer of torch.optim trains, by its name in any case, to the bits that a loop by hand gives."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from rapidfire_cli.training import optimizers, rng
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.optimizers import OPTIMIZERS
from tests.shares import share
from tests.training.sandbox import TrainingSandbox, leaf, same
from tests.training.specs import Plain

NAMES = sorted(cls.__name__ for cls in OPTIMIZERS.classes.values())
SPECS = {"SparseAdam": "Sparse"}
CPU = torch.device("cpu")


def section(name, **args):
    return {"name": name, "args": args}


def test_they_are_all_there():
    assert {"Adadelta", "Adafactor", "Adam", "AdamW", "LBFGS", "Muon", "RMSprop", "SGD", "SparseAdam"} <= {
        *NAMES
    }


@pytest.mark.parametrize("name", share(NAMES, 3))
def test_it_trains_and_continues_bit_for_bit(name, tmp_path):
    spec = SPECS.get(name, "Plain")
    config = leaf(section(name.upper(), lr=0.01), epochs=2)
    whole = TrainingSandbox(tmp_path / "whole", spec)
    whole.train(config, until=2)

    stopped = TrainingSandbox(tmp_path / "stopped", spec)
    stopped.stop_at = 3
    stopped.train(config, until=2)
    continued = TrainingSandbox(tmp_path / "stopped", spec)
    continued.train(config, until=2)

    assert same(continued.weights(), whole.weights())
    losses = [values["train", "loss"] for values in whole.epochs().values()]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("name", ["SGD", "Adam", "LBFGS"])
def test_it_trains_as_a_loop_by_hand(name, tmp_path):
    place = TrainingSandbox(tmp_path, "Plain")
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
    place = TrainingSandbox(tmp_path)
    place.train(leaf(section("Muon")), until=1)

    assert place.failure().cause.startswith("Muon rejects the parameter `0.bias` of shape (")


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
    found = [*optimizers.optimizer_findings(wrong), *optimizers.rehearse(wrong, CPU)]

    assert [(finding.code, finding.path) for finding in found] == [
        ("E406", ("train", "optimizer", "args", key)) for key in at
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_passes_its_rehearsal(name):
    assert optimizers.rehearse(section(name, lr=0.01), CPU) == []


def test_a_rejected_value_is_quoted_with_what_torch_says():
    (quoted,) = optimizers.optimizer_findings(section("Adam", lr="1e-3"))
    (negative,) = optimizers.rehearse(section("Adam", lr=-0.1), CPU)

    assert (quoted.found, quoted.expected, quoted.hint) == (
        'a string, "1e-3"',
        "a number",
        "write 1e-3 without quotes",
    )
    assert negative.message == "Adam rejects `lr`: Invalid learning rate: -0.1"


def test_an_argument_it_does_not_take_is_reported_with_those_it_takes():
    (finding,) = optimizers.optimizer_findings(section("Adam", lr=1e-4, momentum=0.9, weight_decay=1e-5))

    assert finding.code == "E402"
    assert finding.path == ("train", "optimizer", "args", "momentum")
    assert finding.message == "Adam has no argument `momentum`"
    assert finding.expected.startswith("one of lr, betas, eps, weight_decay, amsgrad")
    assert finding.hint == "`momentum` is an argument of Muon, RMSprop, SGD"


def test_a_misspelt_argument_or_name_gets_the_nearest():
    (argument,) = optimizers.optimizer_findings(section("SGD", momentun=0.9))
    (name,) = optimizers.optimizer_findings(section("AdmaW"))

    assert argument.hint == "did you mean `momentum`?"
    assert (name.code, name.hint) == ("E401", "did you mean `AdamW`?")


class Zeroing(torch.optim.SGD):
    def zero_grad(self, set_to_none=True):
        super().zero_grad(set_to_none=False)


def test_gradients_are_cleared_as_the_optimizer_does():
    first, second, own = parameters = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    each = [torch.optim.SGD([first]), torch.optim.Adam([second]), Zeroing([own])]
    for optimizer in (*each, optimizers.Optimizers(each)):
        sum(parameters).sum().backward()
        optimizers.clear_gradients(optimizer)
    assert first.grad is second.grad is None
    assert own.grad.tolist() == [0, 0]


class Lion(torch.optim.Optimizer):
    """An optimizer of a user's own: steps by the sign of the gradient."""

    def __init__(self, parameters, rate=0.1):
        if rate < 0:
            raise ValueError("not so")
        super().__init__(parameters, {"lr": rate})

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data -= group["lr"] * parameter.grad.sign()


class Picky(torch.optim.Optimizer):
    """Takes what no rehearsal offers: parameters of three dimensions."""

    def __init__(self, params, **options):
        params = list(params)
        if any(parameter.ndim != 3 for parameter in params):
            raise ValueError("three, please")
        super().__init__(params, options)


HERE = "tests.training.test_optimizers"


def test_a_class_of_a_user_s_own_trains_by_its_dotted_path(tmp_path):
    lion = {"name": f"{HERE}:Lion", "args": {"rate": 0.01}}
    assert optimizers.optimizer_findings(lion) + optimizers.rehearse(lion, CPU) == []

    place = TrainingSandbox(tmp_path, "Plain")
    place.train(leaf(lion, epochs=2), until=2)
    assert place.epochs()[2]["train", "loss"] < place.epochs()[1]["train", "loss"]


@pytest.mark.parametrize(
    ("said", "code", "at"),
    [
        ({"name": f"{HERE}:Lion", "args": {"lr": 0.1}}, "E402", "args.lr"),
        ({"name": f"{HERE}:Lion", "args": {"rate": -0.1}}, "E406", "args.rate"),
        ({"name": f"{HERE}:Tiger"}, "E401", "name"),
        ({"name": f"{HERE}.functional"}, "E401", "name"),
    ],
)
def test_a_class_of_a_user_s_own_is_checked_as_torch_s_are(said, code, at):
    (finding,) = [*optimizers.optimizer_findings(said), *optimizers.rehearse(said, CPU)]

    assert (finding.code, ".".join(finding.path)) == (code, f"train.optimizer.{at}")


def test_a_class_of_a_user_s_own_may_need_more_than_a_rehearsal_offers():
    picky = {"name": f"{HERE}:Picky", "args": {"anything": 1}}

    assert optimizers.optimizer_findings(picky) + optimizers.rehearse(picky, CPU) == []


def net():
    return nn.ModuleDict({"body": nn.Linear(4, 4), "norm": nn.LayerNorm(4), "head": nn.Linear(4, 2)})


def shared(optimizer):
    """The names of each group's parameters, with the group's rate."""
    return [(group["lr"], *group["param_names"]) for group in optimizer.param_groups]


def test_a_parameter_belongs_to_the_first_group_that_matches():
    groups = [{"match": "head.*", "lr": 0.5}, {"match": ["*.bias", "norm.*"], "lr": 0.25}]
    built = optimizers.build({**section("AdamW", lr=0.125), "groups": groups}, net())

    assert shared(built) == [
        (0.5, "head.weight", "head.bias"),
        (0.25, "body.bias", "norm.weight", "norm.bias"),
        (0.125, "body.weight"),
    ]


def test_a_parameter_belongs_to_the_first_optimizer_that_matches():
    said = [
        {**section("Muon", lr=0.5), "match": ["body.weight", "head.weight"]},
        {**section("AdamW", lr=0.25), "groups": [{"match": "norm.*", "lr": 0.125}]},
    ]
    built = optimizers.build(said, net())

    assert [type(member).__name__ for member in optimizers.members(built)] == ["Muon", "AdamW"]
    assert shared(built) == [
        (0.5, "body.weight", "head.weight"),
        (0.125, "norm.weight", "norm.bias"),
        (0.25, "body.bias", "head.bias"),
    ]


def test_a_tied_parameter_is_matched_by_each_of_its_names():
    model = net()
    model["body"].weight = model["norm"].weight = nn.Parameter(torch.ones(4))
    built = optimizers.build([{**section("SGD"), "match": "norm.weight"}, section("Adam")], model)

    assert shared(built)[0] == (0.001, "body.weight")


@pytest.mark.parametrize(
    ("said", "cause", "at"),
    [
        (
            {**section("SGD"), "match": "head.*"},
            "no optimizer matches body.weight, body.bias, norm.weight, norm.bias; "
            "add one without `match` for the remaining parameters",
            "",
        ),
        (
            {**section("SGD"), "groups": [{"match": "tail.*", "lr": 0.1}]},
            "`tail.*` matches no parameter; "
            "the parameters are body.weight, body.bias, norm.weight, norm.bias, head.weight and 1 more",
            ".groups.0.match",
        ),
        (
            {**section("SGD"), "groups": [{"match": "*"}, {"match": ["head.*"]}]},
            "all parameters that `head.*` matches already belong to an earlier optimizer or group",
            ".groups.1",
        ),
        (
            [section("SGD"), section("Adam")],
            "all parameters that `*` matches already belong to an earlier optimizer or group",
            ".1",
        ),
        (
            section("Muon"),
            "Muon rejects the parameter `body.bias` of shape (4,): "
            "Muon only supports 2D parameters whereas we found a parameter with size: torch.Size([4])",
            "",
        ),
    ],
)
def test_parameters_that_nobody_or_the_wrong_one_takes_fail_the_run_before_it_trains(said, cause, at):
    with pytest.raises(Failure) as raised:
        optimizers.build(said, net())

    assert raised.value.cause == cause
    assert ".".join(raised.value.knob) == f"train.optimizer{at}"


def test_what_groups_say_is_checked_where_it_stands():
    group = {"match": "head.*", "momentum": 0.9, "betas": [0.9], "lr": -1.0}
    said = [{**section("Adam"), "groups": [group]}, section("SGD", lr=-1.0)]

    found = [*optimizers.optimizer_findings(said), *optimizers.rehearse(said, CPU)]

    assert [(finding.code, ".".join(finding.path).removeprefix("train.optimizer.")) for finding in found] == [
        ("E402", "0.groups.0.momentum"),
        ("E406", "0.groups.0.betas"),
        ("E406", "0.groups.0.lr"),
        ("E406", "1.args.lr"),
    ]


@pytest.mark.parametrize("alone", [True, False])
def test_lbfgs_trains_all_parameters_alike(alone):
    lbfgs = section("LBFGS")
    said = {**lbfgs, "groups": [{"match": "*"}]} if alone else [{**lbfgs, "match": "head.*"}, section("SGD")]
    (finding,) = optimizers.optimizer_findings(said)

    assert (finding.code, finding.message) == ("E408", "LBFGS must be the only optimizer and have no groups")


SPLIT = [
    {**section("Muon", lr=0.02), "match": "0.*"},
    {**section("AdamW", lr=0.01), "groups": [{"match": "2.*", "lr": 0.02, "betas": [0.8, 0.9]}]},
]


def test_several_optimizers_train_as_a_loop_by_hand(tmp_path):
    place = TrainingSandbox(tmp_path, "Plain")
    place.train(leaf(SPLIT, epochs=2, batch_size=8, max_grad_norm=0.5), until=2)

    spec = Plain()
    rows = spec.load_data({}, {})["train"]
    inputs = torch.stack([row["x"] for row in rows])
    labels = torch.tensor([row["labels"] for row in rows])
    torch.manual_seed(rng.derive(42, "create_model"))
    model = spec.create_model({})
    muon = torch.optim.Muon(model[0].parameters(), lr=0.02)
    adamw = torch.optim.AdamW([{"params": [model[2].weight], "lr": 0.02, "betas": (0.8, 0.9)}], lr=0.01)
    for epoch in (1, 2):
        for batch in rng.order(42, epoch, len(rows)).split(8):
            muon.zero_grad()
            adamw.zero_grad()
            functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            muon.step()
            adamw.step()

    assert same(place.weights(), dict(model.state_dict()))


def test_several_optimizers_with_a_schedule_continue_bit_for_bit(tmp_path):
    schedule = {"name": "OneCycleLR", "args": {"max_lr": 0.05, "cycle_momentum": False}}
    config = leaf(SPLIT, epochs=2, lr_scheduler=schedule)
    whole = TrainingSandbox(tmp_path / "whole", "Plain")
    whole.train(config, until=2)

    stopped = TrainingSandbox(tmp_path / "stopped", "Plain")
    stopped.stop_at = 3
    stopped.train(config, until=2)
    continued = TrainingSandbox(tmp_path / "stopped", "Plain")
    continued.train(config, until=2)

    assert same(continued.weights(), whole.weights())


def test_a_sparse_embedding_trains_under_a_dense_head(tmp_path):
    said = [{**section("SparseAdam", lr=0.1), "match": "0.weight"}, section("Adam", lr=0.1)]
    place = TrainingSandbox(tmp_path, "SparseUnderDense")
    place.train(leaf(said, epochs=2, max_grad_norm=0.5), until=2)

    assert place.epochs()[2]["train", "loss"] < place.epochs()[1]["train", "loss"]


def test_sparse_gradients_are_clipped_as_dense_ones_are():
    torch.manual_seed(0)
    sparse, head = nn.Embedding(5, 3, sparse=True), nn.Linear(3, 1)
    dense, other = nn.Embedding(5, 3), nn.Linear(3, 1)
    dense.load_state_dict(sparse.state_dict())
    other.load_state_dict(head.state_dict())
    for embedding, top in ((sparse, head), (dense, other)):
        top(embedding(torch.tensor([1, 2, 2, 4]))).square().sum().backward()
        optimizers.clip([*embedding.parameters(), *top.parameters()], 0.1)

    torch.testing.assert_close(sparse.weight.grad.to_dense(), dense.weight.grad)
    torch.testing.assert_close(head.weight.grad, other.weight.grad)
