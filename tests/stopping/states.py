"""The classes that the states of policies are made of: what a rule's file defines beside its settings."""

import sys
from dataclasses import is_dataclass

from rapidfire_cli.records import by_name
from rapidfire_cli.stopping import asha
from rapidfire_cli.stopping.registry import RULES
from rapidfire_cli.stopping.rule import Rule

MODULES = {asha, *(sys.modules[rule.__module__] for rule in RULES)}
STATES = by_name(
    each
    for module in MODULES
    for each in vars(module).values()
    if isinstance(each, type) and each.__module__ == module.__name__
    if is_dataclass(each) and not issubclass(each, Rule)
)
