"""Early-stopping rules as a bracket keeps them: plain settings, and the policy that follows from them."""

import json
from typing import TypeAlias, assert_never

from rapidfire_cli.records import by_name, from_plain, to_plain
from rapidfire_cli.stopping.asha import AsyncHalving
from rapidfire_cli.stopping.halving import Halving, HalvingRule
from rapidfire_cli.stopping.ladder import levels
from rapidfire_cli.stopping.median import Median, MedianRule
from rapidfire_cli.stopping.rule import Policy
from rapidfire_cli.terms import canonical

Rule: TypeAlias = HalvingRule | MedianRule

KINDS = by_name((HalvingRule, MedianRule))


def policy(rule: Rule) -> Policy:
    """The rule before it has heard anything."""
    match rule:
        case MedianRule():
            return Median(rule.min_epochs, rule.direction)
        case HalvingRule():
            kind = AsyncHalving if rule.mode == "async" else Halving
            rungs = levels(rule.min_epochs, rule.max_epochs, rule.reduction_factor)
            return kind(rungs, rule.max_epochs, rule.reduction_factor, rule.direction)
    assert_never(rule)


def settings(rule: Rule) -> str:
    """The rule as canonical JSON."""
    return canonical(to_plain(rule))


def rule_of(text: str) -> Rule:
    """The rule that `settings` wrote."""
    rule: Rule = from_plain(json.loads(text), KINDS)
    return rule
