"""CMA-ES: known runs, by number, are the generations of an evolution strategy; the next one is drawn from it.

Runs without a value take no part. A generation is any runs, as many as the strategy asks for:
so the state of the strategy follows from the ledger, and is not kept.
"""

import json
from collections.abc import Iterator, Sequence

import numpy as np
from cmaes import CMA
from numpy.typing import NDArray

from rapidfire_cli.search.proposing import Ended, Question
from rapidfire_cli.search.space import at, fraction, leaf, parameters, recognized
from rapidfire_cli.terms import Plain

SIGMA = 1 / 6  # of the width of each range, as Optuna has it


def candidates(asked: Question) -> Iterator[Plain]:
    """Draws from the strategy after all complete generations, without end."""
    search = asked.search
    names = [*parameters(search.tree)]
    strategy = CMA(
        mean=np.full(len(names), 0.5),
        sigma=SIGMA,
        bounds=np.array([[0.0, 1.0]] * len(names)),
        seed=asked.seed_of_place,
    )
    solutions, size = [*_solutions(asked, names)], strategy.population_size
    for start in range(0, len(solutions) - size + 1, size):
        strategy.tell(solutions[start : start + size])
    while True:
        place = dict(zip(names, strategy.ask().tolist(), strict=True))
        yield leaf(search.tree, lambda name, among: at(among, place[name]))  # noqa: B023 - used at once


def _solutions(asked: Question, names: Sequence[str]) -> Iterator[tuple[NDArray[np.float64], float]]:
    """The known runs with a value, as points of the unit cube with what is to be minimized."""
    sign = 1.0 if asked.search.direction == "min" else -1.0
    for config, outcome in asked.known:
        chosen = recognized(asked.search.tree, json.loads(config))
        if chosen is not None and isinstance(outcome, Ended) and outcome.value is not None:
            point = [fraction(*chosen[name]) for name in names]
            yield np.array(point), sign * outcome.value
