"""Early-stopping rules as a bracket keeps them: plain settings, and the policy that follows from them."""

import json
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

from rapidfire_cli.manifest.rungs import levels
from rapidfire_cli.records import by_name, from_plain, to_plain
from rapidfire_cli.schedule.asha import AsyncHalving
from rapidfire_cli.schedule.halving import Halving
from rapidfire_cli.schedule.median import Median
from rapidfire_cli.schedule.policies import Policy
from rapidfire_cli.syntax.ast import MedianRule
from rapidfire_cli.terms import Direction, canonical


@dataclass(frozen=True, slots=True)
class HalvingRule:
    """The best 1/`reduction_factor` of each rung go on."""

    metric: str
    direction: Direction
    min_epochs: int  # of the first rung
    max_epochs: int
    reduction_factor: int
    mode: Literal["sync", "async"] = "sync"


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
