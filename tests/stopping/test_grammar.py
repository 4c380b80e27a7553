"""The grammar of `early_stopping:` derives from the settings of the rules."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from rapidfire_cli.problems import Problem
from rapidfire_cli.shapes import METRIC, alternatives
from rapidfire_cli.stopping.patience import PatienceRule
from rapidfire_cli.stopping.registry import forms
from rapidfire_cli.syntax.schema import schema
from rapidfire_cli.syntax.serialize import spelt
from tests.stopping.samples import SAMPLES
from tests.syntax.reading import TRAIN, generator, refused

ROOT = Path(__file__).parents[2]
SCHEMA = Draft202012Validator(schema(tagged=False))
TRAINED = {"epochs": 1, "batch_size": 8, "optimizer": {"name": "Adam"}}


def valid(stopping: dict) -> bool:
    return SCHEMA.is_valid({"gridsearch": {"early_stopping": stopping, "train": TRAINED}})


@pytest.mark.parametrize("rule", [rule for rule in SAMPLES.values() if rule.word], ids=str)
def test_the_schema_says_of_a_rule_what_the_parser_says(rule):
    said = spelt(rule)
    assert valid(said)
    assert not valid({**said, "rule": "medain"})
    assert not valid({**said, "patients": 3})
    for needed in ("rule", "metric", "direction"):
        assert not valid({key: value for key, value in said.items() if key != needed})


def test_the_schema_gives_no_rule_the_settings_of_another():
    assert not valid({"rule": "patience", "metric": "loss", "direction": "min", "min_epochs": 3})
    assert not valid({"rule": "median", "metric": "loss", "direction": "min", "epochs": 3})


def test_the_grammar_page_has_a_row_for_every_rule_with_its_settings_and_defaults():
    lines = (ROOT / "docs" / "grammar.md").read_text("utf-8").splitlines()
    for word, form in forms().items():
        [row] = [line for line in lines if line.startswith(f"| `{word}` |")]
        for key, default in form.defaults.items():
            assert f"`{key}` ({default:g})" in row


def stopped(text: str) -> list[Problem]:
    return refused(f"gridsearch: {{early_stopping: {text}, {TRAIN}}}")


def test_early_stopping_needs_a_rule_whatever_else_it_says():
    [problem] = stopped("{metric: loss, direction: min, min_epochs: 3}")
    assert (problem.code, problem.expected) == ("E202", f"`rule`: {alternatives([*forms()])}")


def test_a_misspelt_rule_is_the_only_problem_of_settings_that_some_rule_has():
    [problem] = stopped("{rule: medain, metric: loss, direction: min, min_epochs: 3}")
    assert (problem.code, problem.hint) == ("E205", "did you mean `median`?")


def test_a_rule_alone_can_be_written_out():
    [problem] = stopped("median")
    assert (problem.code, problem.hint) == ("E203", "write {rule: median, …}")


def test_a_setting_of_another_rule_names_that_rule():
    [problem] = stopped("{rule: patience, metric: loss, direction: min, min_epochs: 3}")
    assert (problem.code, problem.hint) == ("E201", "`min_epochs` belongs to `rule: median`")


@pytest.mark.parametrize(
    ("settings", "code", "expected"),
    [
        ("epochs: 0", "E204", "an integer of at least 1"),
        ("epochs: 1.5", "E203", "an integer of at least 1"),
        ("min_delta: -0.1", "E204", "a number of at least 0"),
        ("min_delta: much", "E203", "a number of at least 0"),
        ("direction: down", "E205", "min or max"),
        ("metric: top0_accuracy", "E206", METRIC.expected),
    ],
)
def test_the_settings_of_patience_are_checked(settings, code, expected):
    said = {"metric": "loss", "direction": "min"} | dict([settings.split(": ")])
    [problem] = stopped(
        "{rule: patience, " + ", ".join(f"{key}: {value}" for key, value in said.items()) + "}"
    )
    assert (problem.code, problem.expected) == (code, expected)


def test_patience_has_defaults_and_its_numbers_are_floats():
    grid = generator(
        f"gridsearch: {{early_stopping: {{rule: patience, metric: loss, direction: min}}, {TRAIN}}}"
    )
    assert grid.early_stopping == PatienceRule("loss", "min", epochs=3, min_delta=0.0)
    rule = "{rule: patience, metric: loss, direction: max, epochs: 5, min_delta: 1}"
    search = generator(f"randomsearch: {{num_runs: 2, early_stopping: {rule}, {TRAIN}}}")
    assert search.early_stopping == PatienceRule("loss", "max", 5, 1.0)
    assert type(search.early_stopping.min_delta) is float


def test_a_misspelt_setting_of_a_rule_is_pointed_at():
    [problem] = stopped("{rule: median, metric: loss, direction: min, min_epoch: 3}")
    assert (problem.code, problem.hint) == ("E201", "did you mean `min_epochs`?")
