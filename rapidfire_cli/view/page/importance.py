"""How much each knob matters for a metric, as Optuna's PED-ANOVA estimates it from the runs that there are.

Watanabe et al., "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces" (2023).
A knob is a number where runs have many different numbers for it, as drawn from a range, and else a choice;
that a run lacks the knob is one, too.
"""

import json
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from rapidfire_cli.manifest.knob_paths import ABSENT, Absent, cell
from rapidfire_cli.store.queries import RunRow
from rapidfire_cli.terms import Direction, Plain, RunState
from rapidfire_cli.view.knob_columns import short_names

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEAST = 20  # runs, below which the estimate says nothing (assumed)
FEW = 8  # different numbers that are choices (assumed: a list of them, not a range)
DECADES = 20  # times the smallest value; a knob that spans more is compared by its logarithm (assumed)
LEFT_OUT = frozenset({RunState.FAILED, RunState.DELETED})
EXTRA = "pip install 'rapidfire-cli[optuna]'"


def importance_document(
    rows: Sequence[RunRow], split: str, name: str, direction: Direction, paths: Sequence[str]
) -> dict[str, Plain]:
    """The importance of each knob that varies, largest first; or why there is none."""
    found = [
        (row, value)
        for row in rows
        if row.state not in LEFT_OUT
        and (value := row.metrics.get(split, {}).get(name)) is not None
        and math.isfinite(value)
    ]
    if len(found) < LEAST:
        return {"runs": len(found), "refused": f"needs {LEAST} runs with a value; there are {len(found)}"}
    if find_spec("optuna") is None:
        return {"runs": len(found), "refused": f"needs the package optuna: {EXTRA}"}
    knobs = {path: [cell(row.config, path) for row, _ in found] for path in paths}
    varying = {path: each for path, each in knobs.items() if len({_text(value) for value in each}) > 1}
    if not varying:
        return {"runs": len(found), "refused": "no knob varies between these runs"}
    scores = _scores(varying, [value for _, value in found], direction)
    short = dict(zip(paths, short_names(paths), strict=True))
    ranked = sorted(scores.items(), key=lambda pair: -pair[1])
    return {"runs": len(found), "importance": [[path, short[path], score] for path, score in ranked]}


def _scores(
    knobs: "Mapping[str, Sequence[Plain | Absent]]", values: Sequence[float], direction: Direction
) -> dict[str, float]:
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize" if direction == "min" else "maximize")
    kinds = {path: _distribution(each) for path, each in knobs.items()}
    for at, value in enumerate(values):
        params = {path: _param(knobs[path][at], kinds[path]) for path in knobs}
        study.add_trial(create_trial(params=params, distributions=kinds, value=value))
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())


def _distribution(values: "Sequence[Plain | Absent]") -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or len({*numbers}) <= FEW:
        return CategoricalDistribution(tuple(sorted({_text(value) for value in values})))
    low, high = min(numbers), max(numbers)
    return FloatDistribution(low, high, log=low > 0 and high >= DECADES * low)


def _param(value: "Plain | Absent", kind: "BaseDistribution") -> object:
    from optuna.distributions import CategoricalDistribution

    return _text(value) if isinstance(kind, CategoricalDistribution) else value


def _text(value: "Plain | Absent") -> str:
    return "absent" if value is ABSENT else json.dumps(value, sort_keys=True)
