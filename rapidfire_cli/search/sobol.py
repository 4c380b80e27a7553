"""Quasi-Monte Carlo: the points of a scrambled Sobol sequence, which fill the space evenly.

Every parameter is a dimension, also one that only some alternatives have; where it does not exist, its
coordinate is not used. Results play no part.
"""

from collections.abc import Iterator
from itertools import count

from scipy.stats.qmc import Sobol

from rapidfire_cli.search.proposing import Question
from rapidfire_cli.search.space import at, leaf, parameters
from rapidfire_cli.terms import Plain

BATCH = 256  # points that are made at a time: Sobol sequences are balanced at powers of 2


def candidates(asked: Question) -> Iterator[Plain]:
    """The points of the search's sequence from its beginning: those that are known are passed over."""
    names = [*parameters(asked.search.tree)]
    sequence = Sobol(len(names), scramble=True, rng=asked.seed)
    for _ in count():
        for point in sequence.random(BATCH).tolist():
            place = dict(zip(names, point, strict=True))
            yield leaf(asked.search.tree, lambda name, among: at(among, place[name]))  # noqa: B023 - used at once
