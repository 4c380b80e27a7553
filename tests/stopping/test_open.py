"""Runs may join the bracket of every rule that `early_stopping:` can name."""

from typing import Any

import pytest

from rapidfire_cli.facts import RunJoined
from rapidfire_cli.stopping.bracket import bracket_state
from rapidfire_cli.stopping.median import MedianRule
from rapidfire_cli.stopping.patience import PatienceRule
from rapidfire_cli.stopping.registry import RULES
from rapidfire_cli.stopping.rule import OpenPolicy, Rule

NAMED = [rule for rule in RULES if rule.word]


@pytest.mark.parametrize("kind", NAMED)
def test_a_rule_that_files_name_is_open(kind: Any):
    assert isinstance(kind("loss", "min").policy(), OpenPolicy)


@pytest.mark.parametrize("rule", [MedianRule("loss", "min", 2), PatienceRule("loss", "min", 3)])
def test_a_run_that_joins_is_judged_as_one_that_was_there_from_the_start(rule: Rule):
    whole, joined = rule.policy(), rule.policy()
    first = whole.start(1, {1: 5, 2: 5, 3: 5, 4: 5, 5: 5})
    assert joined.start(1, {1: 5, 2: 5, 3: 5, 4: 5}) == first
    told = [(run, epoch, 1.0 / run) for run in (1, 2, 3, 4) for epoch in range(1, 6)]
    before = [decision for each in told for decision in whole.report(*each)]
    assert [decision for each in told for decision in joined.report(*each)] == before
    assert isinstance(joined, OpenPolicy) and joined.join(5, 5) == first
    late = [(5, epoch, 9.0) for epoch in range(1, 6)]
    ends = [decision for each in late for decision in whole.report(*each)]
    assert [decision for each in late for decision in joined.report(*each)] == ends
    assert not ends[-1].verdicts[0].promoted


def test_a_bracket_lets_a_run_that_joins_train_as_far_as_the_others():
    found = bracket_state(MedianRule("loss", "min", 2), 1, {1: 5}, [RunJoined(2, 1, 5)])
    assert found.limits == {1: 2, 2: 2}
