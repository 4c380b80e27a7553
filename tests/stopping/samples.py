"""One or more settings of every rule, by the text with which a journal keeps them."""

from collections.abc import Mapping

from rapidfire_cli.stopping.async_population import AsyncPopulationRule
from rapidfire_cli.stopping.halving import HalvingRule
from rapidfire_cli.stopping.median import MedianRule
from rapidfire_cli.stopping.patience import PatienceRule
from rapidfire_cli.stopping.population import PopulationRule
from rapidfire_cli.stopping.rule import Rule

GOAL = 8  # epochs of every run

SAMPLES: Mapping[str, Rule] = {
    '{"direction":"max","is":"HalvingRule","max_epochs":8,"metric":"f1","min_epochs":1,"mode":"sync",'
    '"reduction_factor":2}': HalvingRule("f1", "max", 1, GOAL, 2),
    '{"direction":"min","is":"HalvingRule","max_epochs":8,"metric":"loss","min_epochs":1,"mode":"async",'
    '"reduction_factor":3}': HalvingRule("loss", "min", 1, GOAL, 3, "async"),
    '{"direction":"min","is":"MedianRule","metric":"loss","min_epochs":1}': MedianRule("loss", "min"),
    '{"direction":"max","is":"MedianRule","metric":"f1","min_epochs":2}': MedianRule("f1", "max", 2),
    '{"direction":"max","epochs":8,"forks":2,"is":"PopulationRule","metric":"f1","perturb_every":1}': (
        PopulationRule("f1", "max", 1, GOAL, 2)
    ),
    '{"direction":"min","epochs":8,"forks":1,"is":"PopulationRule","metric":"loss","perturb_every":3}': (
        PopulationRule("loss", "min", 3, GOAL, 1)
    ),
    '{"direction":"min","epochs":8,"forks":1,"is":"AsyncPopulationRule","metric":"loss","perturb_every":1,'
    '"population":3}': AsyncPopulationRule("loss", "min", 1, GOAL, 1, 3),
    '{"direction":"max","epochs":8,"forks":3,"is":"AsyncPopulationRule","metric":"f1","perturb_every":1,'
    '"population":6}': AsyncPopulationRule("f1", "max", 1, GOAL, 3, 6),
    '{"direction":"min","epochs":1,"is":"PatienceRule","metric":"loss","min_delta":0.0}': PatienceRule(
        "loss", "min", 1
    ),
    '{"direction":"max","epochs":3,"is":"PatienceRule","metric":"f1","min_delta":0.25}': PatienceRule(
        "f1", "max", 3, 0.25
    ),
}
