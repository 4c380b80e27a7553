"""The importance of knobs: how much worse a random forest predicts the metric once a knob is shuffled.

The forest predicts runs that it was not fitted to (5 folds), and so its R² says whether the importances mean
anything at all. The page shows another estimate, PED-ANOVA, which has no such
measure (`view.page.importance`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rapidfire_cli.terms import Plain
from rapidfire_cli.view.plots.figure import COLOURS, GREY, INK, PALE, drawn, title
from rapidfire_cli.view.wording import knob_text

LEAST = 20  # runs below which importances say nothing
TREES, FOLDS, SHUFFLES = 200, 5, 10  # assumed; scikit-learn's defaults are 100, 5 and 5
FAIR = 0.3  # the R² below which the plot warns (assumed)


@dataclass(frozen=True, slots=True)
class Importance:
    """The knobs with the R² that shuffling them costs, most first, and what the forest explains."""

    knobs: tuple[tuple[str, float, float], ...]  # name, mean over folds and shuffles, standard deviation
    runs: int
    r2: float  # on runs that the forest was not fitted to


def importance(knobs: Mapping[str, Sequence[Plain]], values: Sequence[float]) -> Importance:
    """The importance of each knob for the values, by run. Needs scikit-learn."""
    import numpy as np
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import r2_score
    from sklearn.model_selection import KFold

    inputs = np.array([_numbers(each) for each in knobs.values()]).T
    targets = np.array(values)
    predicted = np.empty_like(targets)
    costs = []
    for fitted, held_out in KFold(FOLDS, shuffle=True, random_state=0).split(inputs):
        forest = RandomForestRegressor(TREES, random_state=0).fit(inputs[fitted], targets[fitted])
        predicted[held_out] = forest.predict(inputs[held_out])
        shuffled = permutation_importance(
            *(forest, inputs[held_out], targets[held_out]),
            scoring="neg_mean_squared_error",
            n_repeats=SHUFFLES,
            random_state=0,
        )
        costs.append(shuffled.importances / max(targets.var(), np.finfo(float).tiny))
    each = np.concatenate(costs, axis=1)
    found = zip(knobs, each.mean(axis=1).tolist(), each.std(axis=1).tolist(), strict=True)
    ordered = tuple(sorted(found, key=lambda one: -one[1]))
    return Importance(ordered, len(values), float(r2_score(targets, predicted)))


def _numbers(values: Sequence[Plain]) -> list[float]:
    """A knob's values for trees: numbers as they are, others numbered, NaN where a run lacks the knob."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, int | float) for value in known):
        return [float("nan") if value is None else float(value) for value in values]  # type: ignore[arg-type]
    kinds = {kind: place for place, kind in enumerate(sorted(set(map(knob_text, known))))}
    return [float("nan") if value is None else float(kinds[knob_text(value)]) for value in values]


def draw_importance(path: Path, experiment: str, metric: str, found: Importance) -> None:
    """Draw a bar for each knob. Raises OSError."""
    names = [name for name, _, _ in found.knobs]
    means = [max(mean, 0.0) for _, mean, _ in found.knobs]
    places = range(len(names), 0, -1)
    explains = found.r2 >= FAIR
    with drawn(path, 6.5, 1.5 + 0.36 * len(names)) as figure:
        axes = figure.add_subplot()
        axes.barh(places, means, height=0.62, color=COLOURS[0] if explains else PALE)
        for place, mean in zip(places, means, strict=True):
            axes.annotate(
                f"{mean:.2f}",
                (mean, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                color=GREY,
                fontsize=8.5,
            )
        axes.set_yticks(places, names)
        axes.tick_params(length=0)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks([])
        axes.set_xlim(0, 1.12 * max(*means, 0.01))
        note = f"{experiment}: R² lost when a knob is shuffled; n = {found.runs} runs, R² = {found.r2:.2f}"
        title(figure, f"What {metric} depends on", note)
        if not explains:
            warning = "The knobs explain too little of the metric: the bars mean nothing."
            axes.set_xlabel(warning, color=COLOURS[1], loc="left")
