"""TPE and Gaussian processes, as Optuna has them: the known runs are the trials of a fresh study."""

import json
import warnings
from collections.abc import Iterator
from functools import partial
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

from rapidfire_cli.manifest.size import startup
from rapidfire_cli.search.proposing import Ended, Outcome, Pruned, Question, Unfinished
from rapidfire_cli.search.space import Choices, Chosen, Distribution, Floats, Integers, leaf, recognized
from rapidfire_cli.syntax.ast import AdaptiveSearch
from rapidfire_cli.terms import Plain


def candidates(asked: Question) -> Iterator[Plain]:
    """What Optuna proposes, without end; one that is not taken has failed."""
    search = asked.search
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant_liar is called experimental
        sampler = _sampler(search, asked.seed_of_place)
    study = optuna.create_study(
        direction="minimize" if search.direction == "min" else "maximize", sampler=sampler
    )
    study.add_trials([seen for config, outcome in asked.known if (seen := _trial(search, config, outcome))])
    while True:
        trial = study.ask()
        yield leaf(search.tree, partial(_suggested, trial))
        study.tell(trial, state=TrialState.FAIL)


def _sampler(search: AdaptiveSearch, seed: int) -> BaseSampler:
    if search.sampler == "gp":
        return GPSampler(seed=seed, n_startup_trials=startup(search))
    return TPESampler(seed=seed, n_startup_trials=startup(search), constant_liar=True)


def _trial(search: AdaptiveSearch, config: str, outcome: Outcome) -> FrozenTrial | None:
    """A known run as Optuna sees it; None where its config is outside the search, as an edited clone's."""
    chosen: Chosen | None = recognized(search.tree, json.loads(config))
    if chosen is None:
        return None
    state, value, seen = _state(outcome)
    return create_trial(
        state=state,
        value=value,
        intermediate_values=seen,
        params={name: choice.value for name, choice in chosen.items()},
        distributions={name: _distribution(choice.distribution) for name, choice in chosen.items()},
    )


def _state(outcome: Outcome) -> tuple[TrialState, float | None, dict[int, float]]:
    """How Optuna names the outcome: its state, its final value, and values by epoch."""
    match outcome:
        case Unfinished():
            return TrialState.RUNNING, None, {}
        case Ended(None):
            return TrialState.FAIL, None, {}
        case Ended(value):
            return TrialState.COMPLETE, value, {}
        case Pruned(epoch, value):
            return TrialState.PRUNED, value, {epoch: value}
    assert_never(outcome)


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
