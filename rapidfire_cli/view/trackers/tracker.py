"""The interface of trackers: the notes that they log, and the place where they log an experiment.

A tracker is one module of this package. It has NEEDS, the packages that it imports; `opened`, which makes a
Tracker; and `where`, which says where people find what it logged. Notes say that a run began, measured
something, or changed its state. A tracker may get a note twice, because a process can be killed after the
tracker has logged it and before the cursor is saved.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from rapidfire_cli.manifest.knob_paths import dotted, knobs
from rapidfire_cli.store.metadata import Metadata
from rapidfire_cli.terms import (
    TRAIN,
    VALIDATION,
    Clone,
    OomRetry,
    Plain,
    Run,
    RunState,
    Split,
    Value,
    canonical,
)
from rapidfire_cli.view.trackers.secrets import is_secret, redacted


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run as trackers show it."""

    number: int
    id: str
    group: int
    seed: int
    replicate: int
    parent: int | None  # the run that it was cloned from, or replaces
    knobs: Mapping[str, Value] = field(compare=False)  # by dotted path, without secrets; lists are JSON

    @property
    def name(self) -> str:
        """`run-007`."""
        return f"run-{self.number:03d}"

    @property
    def facts(self) -> dict[str, Value]:
        """What it is, beside its knobs."""
        facts: dict[str, Value] = {"number": self.number, "id": self.id, "group": self.group}
        return {**facts, "seed": self.seed, "replicate": self.replicate, "parent": self.parent}


@dataclass(frozen=True, slots=True)
class Began:
    """A run is known from now on."""

    run: TrackedRun
    at: float  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Measured:
    """Values of a run, after `step` optimizer steps in its `epoch`-th epoch."""

    run: TrackedRun
    at: float
    epoch: int
    step: int
    values: Mapping[str, float]  # by tag: train/loss, val/top1_accuracy; may be NaN


@dataclass(frozen=True, slots=True)
class Changed:
    """A run's state is another from now on."""

    run: TrackedRun
    at: float
    state: RunState
    cause: str  # one line, where it failed
    summary: Mapping[str, float]  # of a run that is over: its last values, its best epoch; else empty


Note: TypeAlias = Began | Measured | Changed

Kind: TypeAlias = type[bool] | type[float] | type[str]
"""What a knob's values are: `float` also for integers, `str` for everything that is mixed or a list."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tracker logs an experiment."""

    directory: Path  # of its own; exists
    metadata: Metadata
    knobs: Mapping[str, Kind]  # of all runs that are known, by dotted path
    curves: Callable[[int], Sequence[Measured]] = field(compare=False)  # all that a run measured, by number

    @property
    def objective(self) -> str:
        """The tag of the metric that runs are ranked by, where runs are validated."""
        metric = self.metadata.objective.metric
        split, _, name = metric.partition(".")
        return tag(TRAIN, name) if split == TRAIN and name else tag(VALIDATION, metric)


class Tracker(Protocol):
    """Logs notes; every method may block and may raise anything."""

    def log(self, notes: Sequence[Note]) -> None:
        """Log the notes, in order; they are kept when this returns."""
        ...

    def close(self) -> None:
        """Finish what is under way; nothing is logged afterwards."""
        ...


def tag(split: Split, name: str) -> str:
    """A metric as trackers name it: `train/loss`, `val/top1_accuracy`."""
    return f"{'val' if split == VALIDATION else split}/{name}"


def kinds(leaves: Iterable[dict[str, Plain]]) -> dict[str, Kind]:
    """The knobs of leaf configs, by dotted path."""
    found: dict[str, set[Kind]] = {}
    for leaf in leaves:
        for path, value in knobs(leaf):
            found.setdefault(dotted(path), set()).update([] if value is None else [_kind(value)])
    return {path: each.pop() if len(each) == 1 else str for path, each in found.items()}


def tracked(run: Run) -> TrackedRun:
    """The run as trackers show it."""
    parent = run.origin.run if isinstance(run.origin, Clone | OomRetry) else None
    same = (run.number, run.id, run.group, run.seed, run.replicate)
    return TrackedRun(*same, parent, dict(_shown(run.leaf)))


def _kind(value: Plain) -> Kind:
    match value:
        case bool():
            return bool
        case int() | float():
            return float
    return str


def _shown(leaf: dict[str, Plain]) -> Iterator[tuple[str, Value]]:
    for path, value in knobs(leaf):
        shown = redacted(value, any(is_secret(str(key)) for key in path))
        yield dotted(path), canonical(shown) if isinstance(shown, list | dict) else shown
