"""The grammar of `early_stopping:` derives from the settings of the rules."""

from rapidfire_cli.problems import Problem
from rapidfire_cli.shapes import alternatives
from rapidfire_cli.stopping.registry import forms
from tests.syntax.reading import TRAIN, refused


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


def test_a_misspelt_setting_of_a_rule_is_pointed_at():
    [problem] = stopped("{rule: median, metric: loss, direction: min, min_epoch: 3}")
    assert (problem.code, problem.hint) == ("E201", "did you mean `min_epochs`?")
