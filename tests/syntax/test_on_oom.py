"""`execution.on_oom`: how a run that runs out of memory is changed."""

import pytest

from rapidfire_cli.syntax.on_oom import Scale, scale
from rapidfire_cli.syntax.overrides import SET, arguments
from rapidfire_cli.syntax.parser import parse
from tests.syntax.reading import TRAIN, understood, wrong

CONFIG = f"config: {{{TRAIN}}}\n"


def changes(text: str) -> object:
    return understood(f"execution: {{on_oom: {text}}}\n{CONFIG}").execution.on_oom


def test_a_change_is_said_by_the_dotted_path_or_key_below_key():
    whole = {"train.batch_size": "/2", "train.grad_accumulation": "*2"}
    assert changes("{train.batch_size: /2, train.grad_accumulation: '*2'}") == whole
    assert changes("{train: {batch_size: /2, grad_accumulation: '*2'}}") == whole
    toml = 'execution.on_oom.train = {batch_size = "/2"}\nexecution.on_oom."train.grad_accumulation" = "*2"\n'
    table = '[config.train]\nepochs = 1\nbatch_size = 8\noptimizer = {name = "SGD"}\n'
    assert understood(toml + table, "f.toml").execution.on_oom == whole


def test_anything_else_is_the_new_value():
    assert changes("{train.precision: bf16, train.max_grad_norm: null, user_knobs.sizes: [1, 2]}") == {
        "train.precision": "bf16",
        "train.max_grad_norm": None,
        "user_knobs.sizes": [1, 2],
    }


def test_no_changes_are_as_none_at_all():
    assert changes("{}") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/2", Scale(True, 2)),
        ("*16", Scale(False, 16)),
        ("/1", None),
        ("bf16", None),
        (2, None),
        ("/2.5", None),
    ],
)
def test_a_scale_is_a_sign_and_an_integer_of_at_least_two(text, found):
    assert scale(text) == found


def test_the_command_line_has_the_last_word_in_either_spelling():
    said = f"execution: {{on_oom: {{train.batch_size: /2}}}}\n{CONFIG}"
    for path in ("execution.on_oom.train.batch_size", 'execution.on_oom."train.batch_size"'):
        file = parse(said.encode(), "f.yaml", arguments=[*arguments(SET, [f"{path}=/4"])])
        assert file.execution.on_oom == {"train.batch_size": "/4"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{train.batch_size: /0}", "E350"),
        ("{train.batch_size: '*-2'}", "E350"),
        ("{user_knobs.x: //}", "E350"),
        ("{train.precision: /2}", "E350"),
        ("{train.batchsize: /2}", "E351"),
        ("{train.optimizer.nam: SGD}", "E351"),
        ("{train.epochs: /2}", "E351"),
        ("{epochs: /2}", "E351"),
        ("{train: /2}", "E351"),
        ("{data.path: x}", "E351"),
        ("{train.batch_size: 0}", "E204"),
        ("{train.batch_size: 2.5}", "E203"),
        ("{train.precision: fp8}", "E205"),
        ("{train.batch_size: !list [1, 2]}", "E301"),
        ("{user_knobs.x: !range [1, 2]}", "E301"),
        ("{train.batch_size: /2, train: {batch_size: /4}}", "E105"),
        ("[train.batch_size]", "E203"),
    ],
)
def test_what_is_no_change_is_refused_where_it_stands(text, code):
    [problem] = wrong(f"execution: {{on_oom: {text}}}\n{CONFIG}")
    assert problem.startswith(f"{code} 1:")
