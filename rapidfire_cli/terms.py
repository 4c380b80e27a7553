"""The types that every stage shares, named as in docs/GLOSSARY.md."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias, cast

Plain: TypeAlias = "None | bool | int | float | str | list[Plain] | dict[str, Plain]"
"""Plain data: what a leaf config, the `data` section and every message between processes are made of."""

Value: TypeAlias = None | bool | int | float | str
"""What is written without parts of its own."""

LeafConfig: TypeAlias = "Mapping[str, Plain]"
"""A config without value sets: the knobs of one run."""

Direction: TypeAlias = Literal["min", "max"]
Epoch: TypeAlias = Literal["last", "best"]
"""The epoch at which runs are compared: their last finished one, or the best by the metric."""

Split: TypeAlias = str
BackendName: TypeAlias = Literal["local", "ray"]
"""Where workers come from: this machine, or the nodes of a Ray cluster."""

Keep: TypeAlias = Literal["resume", "weights"]
"""What a completed run keeps: all that training on from its end needs, or its weights only."""

AUTO: Final = "auto"
RunsPerGpu: TypeAlias = int | Literal["auto"]
"""How many runs train on a GPU at once; "auto" for as many as a worker measures to fit."""

DEMO_MODES: Mapping[str, int] = {"imagenet": 2, "imdb": 4}
"""The runs per GPU of each predefined placement (assumed: for the templates of the same names, on 16 GiB)."""

TRAIN: Split = "train"
VALIDATION: Split = "validation"
LOSS = "loss"

DEFAULT_SEED = 42
SEED_LIMIT = 2**32  # torch, NumPy and Python all accept seeds below it


class RunState(StrEnum):
    """The state of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    INTERRUPTED = "interrupted"  # the fit ended before the run did; the next one continues it
    STOPPED = "stopped"  # stopped for good; the next fit does not continue it
    COMPLETED = "completed"
    PRUNED = "pruned"
    FAILED = "failed"
    DELETED = "deleted"


UNFINISHED = frozenset({RunState.QUEUED, RunState.RUNNING, RunState.INTERRUPTED})
"""The states of runs that train, or that the next fit trains on."""


class Tracker(StrEnum):
    """A tracker that runs can be logged to: a module of `view/trackers` has this name."""

    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"
    WANDB = "wandb"
    TRACKIO = "trackio"


@dataclass(frozen=True, slots=True)
class Objective:
    """What runs are ranked by: a validation metric, its better direction, and the epoch that counts."""

    metric: str
    direction: Direction
    at: Epoch = "last"


@dataclass(frozen=True, slots=True)
class Execution:
    """How runs are executed; not part of a run's identity."""

    checkpoint_every: float = 30.0  # seconds that training may be old before a checkpoint holds it
    hang_timeout: float | None = 1800.0  # seconds that a step may take, a run's first ones excepted (assumed)
    chunks: int = 1  # turns per epoch
    data_cache: int = 2**30  # bytes of prepared rows kept per worker
    disk_cache: int = 16 * 2**30  # bytes of prepared rows kept on disk (assumed: a small part of most disks)
    data_workers: int | None = None  # processes per worker that prepare rows ahead
    prefetch: int | None = None  # batches that they prepare ahead
    keep: Keep = "resume"  # of a completed run
    workers: int | None = None
    runs_per_gpu: RunsPerGpu | None = None  # at once
    threads: int | None = None
    backend: BackendName = "local"  # which workers train
    on_oom: dict[str, Plain] | None = None  # how a run that runs out of memory is changed, by dotted path


@dataclass(frozen=True, slots=True)
class OomRetry:
    """The run replaces one that ran out of memory, with a changed config."""

    run: int  # the number of that one
    apart: bool = False  # its bracket already had a result of it, so this run trains outside the bracket


@dataclass(frozen=True, slots=True)
class Clone:
    """A person made the run from another one, with changed knobs."""

    run: int  # the number of that one


@dataclass(frozen=True, slots=True)
class Proposal:
    """A `search` proposed the run from the results of earlier ones."""

    search: str  # names the search: 16 hex digits
    place: int  # among the runs of the search: 1, 2, …
    unfinished: tuple[int, ...] = ()  # the earlier runs of its group that were not trained to the end yet
    failed: tuple[int, ...] = ()  # those that had ended without a value
    pruned: tuple[tuple[int, int], ...] = ()  # those that had been, with their epochs; others were completed
    basis: str = ""  # hashes all that it followed from: 16 hex digits


@dataclass(frozen=True, slots=True)
class Fork:
    """Population based training made the run from a better one, in place of a worse one."""

    population: str  # names it: 16 hex digits
    epochs: int  # that the population had trained: 1, 2, …
    place: int  # among the forks that were made then: 1, 2, …
    run: int  # the number of the better one, with whose weights it begins
    instead: int  # the number of the worse one


Origin: TypeAlias = OomRetry | Clone | Proposal | Fork
"""Why a run was born during a fit; each way to be born is a class of this union."""


@dataclass(frozen=True, slots=True)
class WarmStart:
    """The run begins with the weights that another one had at the end of an epoch."""

    run: str  # the id of that one
    epoch: int  # 1, 2, …
    matching: bool = False  # load the tensors that fit, and leave out the others
    keep_schedule: bool = False  # the learning-rate schedule continues where that run's was


@dataclass(frozen=True, slots=True)
class Run:
    """One leaf config with one seed."""

    number: int  # 1, 2, …
    id: str  # 16 hex digits
    group: int  # 1, 2, …
    config: str  # canonical JSON of the leaf config
    seed: int
    replicate: int = 0
    origin: Origin | None = None  # of a run that was born during a fit
    warm_start: WarmStart | None = None

    @property
    def leaf(self) -> dict[str, Any]:
        """The leaf config as nested dicts."""
        return cast("dict[str, Any]", json.loads(self.config))

    @property
    def replaces(self) -> int | None:
        """The run whose place it took when memory ran out."""
        return self.origin.run if isinstance(self.origin, OomRetry) else None

    @property
    def is_apart(self) -> bool:
        """Whether it replaces a run, outside the bracket of that one."""
        return isinstance(self.origin, OomRetry) and self.origin.apart


def gang_size(leaf: LeafConfig, gpus: int = 1) -> int:
    """The slots that a run with this leaf config trains on at once, on a machine with `gpus` GPUs."""
    every = max(1, gpus) if takes_all_gpus(leaf) else 1
    return int(cast("dict[str, Any]", leaf["train"]).get("gpus", every))


def takes_all_gpus(leaf: LeafConfig) -> bool:
    """Whether a run with this leaf config shards its model over all GPUs that there are."""
    return bool(leaf.get("fsdp_layer_cls")) and "gpus" not in cast("dict[str, Any]", leaf["train"])


def demo_mode(leaf: LeafConfig) -> str | None:
    """The predefined placement that the leaf config asks for, if any."""
    section = cast("dict[str, str]", leaf.get("dev_knob", {}))
    return section.get("demo_mode")


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: Plain) -> str:
    """Canonical JSON: sorted keys, no spaces, shortest round-trip floats; equal data gives equal text."""
    return _CANONICAL.encode(value)


def spoken(value: float | None) -> float | str | None:
    """A number for JSON output: NaN and infinities, which JSON lacks, as their names."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
