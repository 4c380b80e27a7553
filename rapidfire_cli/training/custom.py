"""Check the MLSpec's own metrics, before the first batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rapidfire_cli.terms import LOSS
from rapidfire_cli.training.returns import described

TABLES = (
    "ConfusionMatrix",
    "ROC",
    "PrecisionRecallCurve",
    "StatScores",
)  # suffixes of torchmetrics class names


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a metric cannot be used, with a hint."""

    cause: str
    hint: str = ""


def unusable(metrics: Any, named: Sequence[str]) -> Iterator[Unusable]:
    """Yield the problems with what the MLSpec's `metrics` method returned."""
    if not isinstance(metrics, Mapping) and not hasattr(metrics, "items"):
        yield Unusable(
            f"`metrics` returned {described(metrics)}, not a dict", "return {name: torchmetrics.Metric, …}"
        )
        return
    for name, metric in metrics.items():
        if name == LOSS or name in named:
            yield Unusable(f"`metrics` returned a metric `{name}`, which the run already has", "rename it")
        elif found := _wrong(metric):
            yield Unusable(f"metric `{name}` {found.cause}", found.hint)


def _wrong(metric: Any) -> Unusable | None:
    import torchmetrics
    from torchmetrics import wrappers

    kind = type(metric).__name__
    several = (
        wrappers.BootStrapper,
        wrappers.ClasswiseWrapper,
        wrappers.MinMaxMetric,
        wrappers.MultitaskWrapper,
    )
    if isinstance(metric, torchmetrics.MetricCollection):
        return Unusable(
            "is a collection, not a single number", "return its metrics one by one: {**collection}"
        )
    if not isinstance(metric, torchmetrics.Metric):
        return Unusable(f"is a {kind}, not a torchmetrics.Metric")
    if isinstance(metric, several) or kind.endswith(TABLES):
        return Unusable(f"is a {kind}, not a single number")
    if getattr(metric, "average", "macro") in (None, "none") and _classes(metric) > 1:
        return Unusable("has one value per class, not a single number", "use average='macro' or 'micro'")
    return None


def _classes(metric: Any) -> int:
    return getattr(metric, "num_classes", None) or getattr(metric, "num_labels", None) or 1
