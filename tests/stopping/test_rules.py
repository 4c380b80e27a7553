"""What every rule promises, whatever it decides."""

import json
import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidfire_cli.facts import Decision
from rapidfire_cli.records import from_plain, to_plain
from rapidfire_cli.stopping.registry import RULES, rule_from
from rapidfire_cli.stopping.rule import ForkingPolicy, Policy, Rule
from rapidfire_cli.syntax.serialize import spelt
from tests.stopping.samples import GOAL, SAMPLES
from tests.stopping.states import STATES

VALUES = st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan, math.inf, None])
OF_EVERY_RULE = pytest.mark.parametrize("rule", SAMPLES.values(), ids=str)


def begun(rule: Rule, runs: int) -> Policy:
    policy = rule.policy()
    policy.start(1, dict.fromkeys(range(1, runs + 1), GOAL))
    return policy


def history(data: st.DataObject, rule: Rule) -> Iterator[tuple[Policy, list[Decision]]]:
    """Train runs in any order and lose some; the policy and its decisions, step by step."""
    runs = data.draw(st.integers(1, 9))
    policy = rule.policy()
    limits = dict.fromkeys(range(1, runs + 1), policy.start(1, dict.fromkeys(range(1, runs + 1), GOAL)))
    trained, goals = dict.fromkeys(limits, 0), dict.fromkeys(limits, GOAL)
    while ready := [run for run in limits if trained[run] < min(limits[run], goals[run])]:
        run = data.draw(st.sampled_from(ready))
        if data.draw(st.integers(0, 9)) == 0:
            del limits[run]
            decisions = policy.withdraw(run, failed=data.draw(st.booleans()))
        else:
            trained[run] += 1
            decisions = policy.report(run, trained[run], data.draw(VALUES))
        yield policy, decisions
        for decision in decisions:
            for verdict in decision.verdicts:
                if verdict.promoted:
                    limits[verdict.run] = decision.limit(verdict.run)
                else:
                    del limits[verdict.run]
        for vacancy in policy.vacancies if isinstance(policy, ForkingPolicy) else ():
            trained[fork := len(trained) + 1], goals[fork] = 0, vacancy.left
            limits[fork] = policy.join(fork, vacancy.left)
    assert all(trained[run] == goals[run] for run in limits), "it waits for a result that cannot come"


def test_every_rule_has_a_sample():
    assert {type(rule) for rule in SAMPLES.values()} == set(RULES)


@OF_EVERY_RULE
@given(st.data())
def test_every_run_that_keeps_training_gets_to_its_goal_or_a_verdict(rule, data):
    for _ in history(data, rule):
        pass


@OF_EVERY_RULE
@given(st.data())
def test_every_verdict_is_explained_in_one_line(rule, data):
    for policy, decisions in history(data, rule):
        for decision in decisions:
            for verdict in decision.verdicts:
                said = (rule.passed if verdict.promoted else rule.ended)(decision, verdict)
                assert said and said.isprintable()
        if len(decisions) == 1:  # a ranking is asked for right after its decision
            [decision] = decisions
            ranking = policy.ranking(decision)
            assert len(ranking) == decision.known
            for verdict in decision.verdicts:
                assert repr(ranking[verdict.rank - 1][1]) == repr(verdict.value)  # of equal ones, any


@OF_EVERY_RULE
@given(st.data())
def test_its_state_survives_json(rule, data):
    for policy, _ in history(data, rule):
        text = json.dumps(to_plain(policy))
        assert json.dumps(to_plain(from_plain(json.loads(text), STATES))) == text


@OF_EVERY_RULE
def test_hearing_a_result_again_changes_nothing(rule):
    policy = begun(rule, 3)
    for run in (1, 2, 3):
        policy.report(run, 1, run / 10)
    assert not policy.report(3, 1, 0.3)


@OF_EVERY_RULE
def test_who_has_shown_nothing_is_replaced_and_who_has_is_not(rule):
    policy = rule.policy()
    first = policy.start(1, dict.fromkeys((1, 2, 3), GOAL))
    assert policy.replace(1, 4)
    assert not policy.replace(1, 5), "it stands here no longer"
    policy.report(2, first, 0.5)
    for epoch in range(1, first):  # which is before the rule judges anyone
        assert not policy.report(2, epoch, 0.5)
    assert not policy.replace(2, 5)
    named = {
        verdict.run
        for epoch in (1, 2, 3)
        for run in (2, 3, 4)
        for decision in policy.report(run, epoch, 0.5)
        for verdict in decision.verdicts
    }
    assert named == {2, 3, 4}


@OF_EVERY_RULE
def test_what_is_not_in_the_bracket_is_ignored(rule):
    policy = begun(rule, 2)
    assert not policy.report(7, 1, 0.5)
    assert not policy.withdraw(7, failed=True)
    assert policy.waits(7) is None


@pytest.mark.parametrize("rule", [rule for rule in SAMPLES.values() if rule.word], ids=str)
def test_a_file_says_it_as_it_is_printed(rule):
    assert rule_from(spelt(rule)) == rule
