"""A knob is shown under the shortest name that cannot be mistaken, and as one harmless line."""

import pytest

from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.terms import Clone, RunState, canonical
from rapidfire_cli.view.knob_columns import knob_value, numeric, short_names, varied
from rapidfire_cli.view.results import status_table
from tests.store.sweep import METADATA, VARIED, leaf, row


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["train.batch_size"], ["batch_size"]),
        (["train.optimizer.args.lr", "user_knobs.lr"], ["args.lr", "user_knobs.lr"]),
        (["train.optimizer.name", "train.batch_size"], ["optimizer.name", "batch_size"]),
        (["train.optimizer.name", "train.lr_scheduler.name"], ["optimizer.name", "lr_scheduler.name"]),
        (["a.x", "b.a.x"], ["a.x", "b.a.x"]),
        (["train.optimizer.0.args.lr"], ["lr"]),
        (
            ["train.optimizer.0.args.lr", "train.optimizer.1.args.lr"],
            ["optimizer.0.args.lr", "optimizer.1.args.lr"],
        ),
    ],
)
def test_names_are_as_short_as_they_can_be(paths, names):
    assert short_names(paths) == names


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("mlp", "mlp"),
        (1e-5, "1e-05"),
        (0.001, "0.001"),
        (0.1937203443093852, "0.19372"),
        (6.123456789e-05, "6.1235e-05"),
        (0.0001234, "0.0001234"),
        (True, "true"),
        (None, "null"),
        ([1, 2], "[1, 2]"),
        ({"name": "StepLR"}, '{"name": "StepLR"}'),
        ("", '""'),
        ("two\nlines", '"two\\nlines"'),
        ("\x1b[31mred", '"\\u001b[31mred"'),
    ],
)
def test_a_value_is_one_line_that_no_terminal_obeys(value, text):
    assert knob_value({"train": {"knob": value}}, "train.knob") == text


def test_a_knob_that_a_run_lacks_is_a_dash():
    assert knob_value({"train": {}}, "train.momentum") == "–"


def test_numbers_stand_on_the_right_even_where_one_is_missing():
    assert numeric(["0.1", "1e-05", "–"])
    assert not numeric(["0.1", "mlp"])


def test_knobs_that_only_clones_change_have_columns_after_those_of_the_file(tmp_path):
    config = leaf(1)
    config["train"]["epochs"] = 9
    config["train"]["optimizer"] = {"name": "SGD", "args": {"lr": 0.5, "momentum": 0.9}}
    clone = row(3, leaf=canonical(config), origin=Clone(1))
    alone = row(4, leaf=canonical({**config, "user_knobs": {"width": 8}}), origin=Clone(99))
    seen = Overview(
        METADATA,
        RunState.COMPLETED,
        (row(1), row(2), clone, alone),
        ExperimentDir(tmp_path),
        METADATA.objective,
    )
    changed = ("train.epochs", "train.optimizer.args.momentum", "train.optimizer.name")
    assert varied(seen) == (*VARIED, *changed), "a clone whose origin is not shown is compared with nothing"
    titles = [column.title for column in status_table(seen).columns]
    assert titles[-5:] == ["batch_size", "lr", "epochs", "momentum", "optimizer.name"]
