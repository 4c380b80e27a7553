"""The rules that there are. A new rule is a file beside this one and a line in `RULES`."""

import json

from rapidfire_cli.records import by_name, from_plain, to_plain
from rapidfire_cli.stopping.halving import HalvingRule
from rapidfire_cli.stopping.median import MedianRule
from rapidfire_cli.stopping.rule import Rule
from rapidfire_cli.terms import canonical

RULES: tuple[type[Rule], ...] = (
    HalvingRule,
    MedianRule,
)

STATES = by_name(state for rule in RULES for state in rule.states())
"""What the state of a policy is made of, by name."""

_BY_NAME = by_name(RULES)


def settings(rule: Rule) -> str:
    """The rule as canonical JSON."""
    return canonical(to_plain(rule))


def rule_of(text: str) -> Rule:
    """The rule that `settings` wrote."""
    rule: Rule = from_plain(json.loads(text), _BY_NAME)
    return rule
