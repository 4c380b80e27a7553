"""rapidfire: one file describes many training runs; one command trains them all, side by side."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "MLSpec": "mlspec",
    **dict.fromkeys(("Experiment", "load_run"), "experiment"),
    **dict.fromkeys(("List", "Range", "Zip", "LIST", "RANGE"), "automl"),
    **dict.fromkeys(("GridSearch", "RandomSearch", "SuccessiveHalving", "Hyperband"), "automl"),
    **dict.fromkeys(("AdaptiveSearch", "PopulationTraining"), "automl"),
}
"""Where the names live that are imported when somebody asks for them."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
