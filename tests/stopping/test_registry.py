"""The registry: what journals keep of a rule, and that no other module looks inside one."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rapidfire_cli
from rapidfire_cli.stopping.halving import HalvingRule
from rapidfire_cli.stopping.median import MedianRule
from rapidfire_cli.stopping.patience import PatienceRule
from rapidfire_cli.stopping.registry import RULES, STATES, rule_of, settings

PACKAGE = Path(rapidfire_cli.__file__).parent
KEPT = {
    '{"direction":"min","is":"MedianRule","metric":"loss","min_epochs":2}': MedianRule("loss", "min", 2),
    '{"direction":"min","epochs":5,"is":"PatienceRule","metric":"loss","min_delta":0.5}': PatienceRule(
        "loss", "min", 5, 0.5
    ),
    '{"direction":"max","is":"HalvingRule","max_epochs":9,"metric":"f1","min_epochs":1,"mode":"async",'
    '"reduction_factor":3}': HalvingRule("f1", "max", 1, 9, 3, "async"),
}
"""The text by which a journal knows a rule. It never changes: a run whose rule has another text leaves its
bracket."""


@pytest.mark.parametrize("text", KEPT)
def test_a_rule_is_kept_as_ever(text):
    assert settings(KEPT[text]) == text
    assert rule_of(text) == KEPT[text]


def test_every_rule_is_kept_as_ever():
    assert {type(rule) for rule in KEPT.values()} == set(RULES)


def test_nobody_else_imports_a_policy_or_a_rule_of_early_stopping():
    inside = {*STATES, *(rule.__name__ for rule in RULES if rule.word)}
    for module in PACKAGE.rglob("*.py"):
        if module.parent.name != "stopping":
            assert not inside & set(_imported(module)), module


def _imported(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("rapidfire_cli.stopping"):
            yield from (alias.name for alias in node.names)
