"""The process that asks Optuna for proposals: pickled questions in, a line of JSON for each out.

It is a process of its own, so that the controller imports neither Optuna nor what Optuna imports. It keeps
nothing between two questions: each is answered from a fresh study.
"""

import json
import pickle
import sys
import warnings
from typing import assert_never

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from rapidfire_cli.manifest.filters.filter import fits
from rapidfire_cli.manifest.sampling import stream, tried
from rapidfire_cli.problems import Refusal
from rapidfire_cli.search.proposing import Ended, Outcome, Question
from rapidfire_cli.search.space import Choices, Chosen, Distribution, Floats, Integers, leaf, recognized
from rapidfire_cli.syntax.ast import AdaptiveSearch, RandomSearch
from rapidfire_cli.terms import canonical

TRIES = 100  # proposals that repeat a known config or break the filters, before one is drawn (assumed)


def main() -> None:
    """Answer questions until standard input ends."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")  # constant_liar is called experimental
    while True:
        try:
            asked = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        print(json.dumps(answer(asked)), flush=True)


def answer(asked: Question) -> str | None:
    """The proposed leaf config as canonical JSON; None if no new one was found."""
    search = asked.search
    study = optuna.create_study(
        direction="minimize" if search.direction == "min" else "maximize",
        sampler=_sampler(search, asked.seed),
    )
    study.add_trials([seen for config, outcome in asked.known if (seen := _trial(search, config, outcome))])
    taken, keeps = {config for config, _ in asked.known}, fits(search)
    for _ in range(TRIES):
        trial = study.ask()
        config = canonical(leaf(search.tree, lambda name, among: _suggested(trial, name, among)))  # noqa: B023
        if config not in taken and keeps(config):
            return config
        study.tell(trial, state=TrialState.FAIL)
    return _drawn(asked, taken)


def _sampler(search: AdaptiveSearch, seed: int) -> BaseSampler:
    match search.sampler:
        case "tpe":
            return TPESampler(seed=seed, n_startup_trials=search.startup, constant_liar=True)
        case "gp":
            return GPSampler(seed=seed, n_startup_trials=search.startup)


def _trial(search: AdaptiveSearch, config: str, outcome: Outcome) -> FrozenTrial | None:
    """A known run as Optuna sees it; None where its config is outside the search, as an edited clone's."""
    chosen: Chosen | None = recognized(search.tree, json.loads(config))
    if chosen is None:
        return None
    value = outcome.value if isinstance(outcome, Ended) else None
    failed = TrialState.FAIL if isinstance(outcome, Ended) else TrialState.RUNNING
    return create_trial(
        state=failed if value is None else TrialState.COMPLETE,
        value=value,
        params={name: choice.value for name, choice in chosen.items()},
        distributions={name: _distribution(choice.distribution) for name, choice in chosen.items()},
    )


def _distribution(among: Distribution) -> BaseDistribution:
    match among:
        case Choices(many):
            return CategoricalDistribution(range(many))
        case Integers(low, high, step, log):
            return IntDistribution(low, high, log, step)
        case Floats(low, high, log):
            return FloatDistribution(low, high, log)
    assert_never(among)


def _suggested(trial: Trial, name: str, among: Distribution) -> int | float:
    match among:
        case Choices(many):
            return trial.suggest_categorical(name, range(many))
        case Integers(low, high, step, log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case Floats(low, high, log):
            return trial.suggest_float(name, low, high, log=log)
    assert_never(among)


def _drawn(asked: Question, taken: set[str]) -> str | None:
    """A new leaf config drawn as a random search draws it; None if there is none among as many draws."""
    search = asked.search
    many = len(taken) + 1  # distinct ones, so at least one is new
    drawing = RandomSearch(search.tree, many, where=search.where, exclude=search.exclude)
    fractions = stream(asked.seed, "proposal", 0)
    try:
        return next(
            (config for config, kept in tried(drawing, fractions, None) if kept and config not in taken), None
        )
    except Refusal:
        return None


if __name__ == "__main__":
    main()
