"""The registry: what journals keep of a rule, and that no other module looks inside one."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rapidfire_cli
from rapidfire_cli.stopping.registry import RULES, rule_of, settings
from tests.stopping.samples import SAMPLES
from tests.stopping.states import STATES

PACKAGE = Path(rapidfire_cli.__file__).parent


@pytest.mark.parametrize("text", SAMPLES)
def test_journals_keep_a_rule_as_they_always_did(text):
    """A run whose rule has another text leaves its bracket."""
    assert settings(SAMPLES[text]) == text
    assert rule_of(text) == SAMPLES[text]


def test_nobody_else_imports_a_policy_or_a_rule_of_early_stopping():
    inside = {*STATES, *(rule.__name__ for rule in RULES if rule.word)}
    for module in PACKAGE.rglob("*.py"):
        if module.parent.name != "stopping":
            assert not inside & set(_imported(module)), module


def _imported(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("rapidfire_cli.stopping"):
            yield from (alias.name for alias in node.names)
