"""Answer a question: which leaf config a search proposes next.

Nothing is kept between two questions.
"""

from collections.abc import Iterator
from importlib import import_module
from itertools import islice

from rapidfire_cli.manifest.filters.filter import fits
from rapidfire_cli.manifest.sampling import stream, tried
from rapidfire_cli.problems import Refusal
from rapidfire_cli.search.proposing import Question
from rapidfire_cli.syntax.ast import RandomSearch
from rapidfire_cli.terms import Plain, canonical

TRIES = 100  # proposals that repeat a known config or break the filters, before one is drawn (assumed)

SAMPLERS = {"tpe": "trials", "gp": "trials", "cmaes": "evolution", "qmc": "sobol"}
"""The modules beside this one whose `candidates` answers a question; each imports what it needs."""


def answer(asked: Question) -> str | None:
    """The proposed leaf config as canonical JSON; None if no new one was found."""
    sampler = import_module(f"rapidfire_cli.search.{SAMPLERS[asked.search.sampler]}")
    candidates: Iterator[Plain] = sampler.candidates(asked)
    taken, keeps = {config for config, _ in asked.known}, fits(asked.search)
    for config in map(canonical, islice(candidates, TRIES + len(taken))):
        if config not in taken and keeps(config):
            return config
    return _drawn(asked, taken)


def _drawn(asked: Question, taken: set[str]) -> str | None:
    """A new leaf config drawn as a random search draws it; None if there is none among as many draws."""
    search = asked.search
    many = len(taken) + 1  # distinct ones, so at least one is new
    drawing = RandomSearch(search.tree, many, where=search.where, exclude=search.exclude)
    drawn = tried(drawing, stream(asked.seed_of_place, "proposal", 0), None)
    try:
        return next((config for config, kept in drawn if kept and config not in taken), None)
    except Refusal:
        return None
