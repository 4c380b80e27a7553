"""The rules that there are. A new rule is a file beside this one and a line in `RULES`."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any

from rapidfire_cli.records import by_name, from_plain, to_plain
from rapidfire_cli.shapes import Form, Number, Record
from rapidfire_cli.stopping.async_population import AsyncPopulationRule
from rapidfire_cli.stopping.halving import HalvingRule
from rapidfire_cli.stopping.median import MedianRule
from rapidfire_cli.stopping.patience import PatienceRule
from rapidfire_cli.stopping.population import PopulationRule
from rapidfire_cli.stopping.rule import Rule
from rapidfire_cli.terms import canonical

RULES: tuple[type[Rule], ...] = (
    HalvingRule,
    MedianRule,
    PatienceRule,
    PopulationRule,
    AsyncPopulationRule,
)

_BY_NAME = by_name(RULES)


@cache
def forms() -> Mapping[str, Form]:
    """The keys of `early_stopping:` beside `rule:`, by the name of the rule."""
    return {rule.word: _form(rule) for rule in RULES if rule.word}


def rule_from(said: Mapping[str, Any]) -> Rule:
    """The rule that a file says, once it is known to have the form of one."""
    kind = next(rule for rule in RULES if rule.word == said["rule"])
    arguments: dict[str, Any] = {key: value for key, value in said.items() if key != "rule"}
    for key, shape in forms()[said["rule"]].record.keys.items():
        if key in arguments and isinstance(shape, Number):
            arguments[key] = float(arguments[key])  # journals and digests compare text
    return kind(**arguments)


def _form(rule: type[Rule]) -> Form:
    said = {field.name: field for field in fields(rule)}
    return Form(
        Record(
            {name: field.metadata["shape"] for name, field in said.items()},
            tuple(name for name, field in said.items() if field.default is MISSING),
        ),
        (rule.__doc__ or "").partition("\n")[0],
        {name: field.metadata["about"] for name, field in said.items()},
        {name: field.default for name, field in said.items() if field.default is not MISSING},
    )


def settings(rule: Rule) -> str:
    """The rule as canonical JSON."""
    return canonical(to_plain(rule))


def rule_of(text: str) -> Rule:
    """The rule that `settings` wrote."""
    rule: Rule = from_plain(json.loads(text), _BY_NAME)
    return rule
