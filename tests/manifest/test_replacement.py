"""What takes the place of a run that runs out of memory."""

import json

import pytest

from rapidfire_cli.manifest.check import find_problems
from rapidfire_cli.manifest.replacement import Exhausted, changed
from tests.syntax.reading import understood

HALVED = {"train.batch_size": "/2", "train.grad_accumulation": "*2"}


def train(on_oom: dict, **knobs: object) -> dict:
    leaf: dict = json.loads(changed(json.dumps({"train": knobs}), on_oom))
    return leaf["train"]


def test_an_integer_is_divided_to_an_integer_and_a_float_to_a_float():
    assert train({"train.batch_size": "/2"}, batch_size=65) == {"batch_size": 32}
    assert train({"train.lr": "/2"}, lr=0.1) == {"lr": 0.05}


def test_what_nobody_says_is_multiplied_from_its_default():
    assert train(HALVED, batch_size=64) == {"batch_size": 32, "grad_accumulation": 2}
    assert train(HALVED, batch_size=64, grad_accumulation=3)["grad_accumulation"] == 6


def test_a_value_is_set_whether_or_not_the_run_has_one():
    assert train({"train.precision": "bf16"}, batch_size=1) == {"batch_size": 1, "precision": "bf16"}
    assert train({"train.precision": "bf16"}, precision="fp32") == {"precision": "bf16"}


def test_a_knob_that_this_run_lacks_or_has_as_null_is_left_alone():
    on_oom = {"user_knobs.depth": "/2", "train.eval_batch_size": "/2", "train.batch_size": "/2"}
    assert train(on_oom, batch_size=4, eval_batch_size=None) == {"batch_size": 2, "eval_batch_size": None}


@pytest.mark.parametrize(
    ("on_oom", "knobs", "why"),
    [
        ({"train.batch_size": "/2"}, {"batch_size": 1}, "train.batch_size is 1"),
        ({"train.batch_size": "/4"}, {"batch_size": 3}, "train.batch_size is 3"),
        (HALVED, {"batch_size": 64, "grad_accumulation": 2**62}, f"train.grad_accumulation is {2**62}"),
        ({"train.grad_accumulation": "*2"}, {"batch_size": 64}, "none of the changes frees memory"),
        ({"train.precision": "bf16"}, {"precision": "bf16"}, "none of the changes frees memory"),
        ({"train.lr": "/2"}, {"lr": 5e-324}, "train.lr is 5e-324"),
    ],
)
def test_changes_that_can_do_no_more_say_why(on_oom, knobs, why):
    with pytest.raises(Exhausted, match=f"^{why}$".replace(".", r"\.")):
        train(on_oom, **knobs)


def problems(on_oom: str) -> list[tuple[str, int, str]]:
    """What is wrong with changes on the third line of a file: code, line, message."""
    file = understood(f"""\
execution:
  on_oom:
    {on_oom}
gridsearch:
  user_knobs: !list [{{model: cnn, depth: 2}}, {{model: mlp, depth: null}}]
  train: {{epochs: 1, batch_size: !list [8, 16], optimizer: {{name: SGD, args: {{lr: 0.1}}}}}}
""")
    return [(found.code, found.span.line, found.message) for found in find_problems(file) if found.span]


@pytest.mark.parametrize(
    "on_oom",
    [
        "user_knobs.depth: /2",
        "train.grad_accumulation: '*2'",
        "train.precision: bf16",
        "train.optimizer.args.lr: /2",
    ],
)
def test_a_change_names_a_knob_that_some_run_has_or_that_has_a_default(on_oom):
    assert problems(on_oom) == []


@pytest.mark.parametrize(
    ("on_oom", "code", "message"),
    [
        ("user_knobs.dept: /2", "E351", "no run has the knob `user_knobs.dept`"),
        ("train.eval_batch_size: /2", "E351", "no run has the knob `train.eval_batch_size`"),
        ("train.optimizer.args: 3", "E351", "`train.optimizer.args` is a section, not a knob"),
        ("user_knobs: {model: /2}", "E350", "`user_knobs.model` is not always a number"),
    ],
)
def test_a_change_of_what_no_run_has_is_found_before_training(on_oom, code, message):
    assert problems(on_oom) == [(code, 3, message)]
