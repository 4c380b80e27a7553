"""The messages between the controller and a worker: records as JSON lines.

Orders go to a worker; reports come back, most of which are facts. Sequences arrive as tuples; nested plain
data travels as JSON text.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rapidfire_cli.facts import (
    CheckpointDamaged,
    DevicesChanged,
    EpochEnded,
    Evicted,
    Metric,
    RunFailed,
    RunOpened,
    Saved,
    TurnEnded,
)
from rapidfire_cli.records import by_name, from_plain, to_plain
from rapidfire_cli.terms import Epoch, Keep, Objective, Split, WarmStart


@dataclass(frozen=True, slots=True)
class Setup:
    """The first order: what every run on this worker shares."""

    mlspec: str  # dotted path, `module:Class`
    data: str  # JSON of the file's `data` section (`null` when absent)
    misc: str  # directory for the user's own files
    device: str  # "cpu" or "cuda:0"
    threads: int
    chunks: int  # turns per epoch
    checkpoint_every: float  # seconds that training may be old before a checkpoint holds it
    data_cache: int  # bytes of prepared rows
    slot: int = 0  # where the worker is
    share: float = 1.0  # of the device's free memory that this worker may fill with resident runs
    metrics: tuple[str, ...] = ()  # the named metrics of all runs
    objective: Objective | None = None  # by which the best epoch's weights are kept
    keep: Keep = "resume"  # of a completed run
    path: tuple[str, ...] = ()  # where modules are looked up beside the working directory
    data_workers: int = 0  # processes that prepare rows ahead
    prefetch: int = 0  # batches that they prepare ahead; 0 for two each
    disk_cache: int = 0  # bytes of prepared rows on disk, of all workers together
    rows: str = ""  # directory for these
    prepared: str = ""  # directory for what the MLSpec's `prepare` makes; then that is for the user's files
    working: int = 0  # bytes that a run needs beside what it keeps at rest; 0 if nothing measured it
    gangs: str = ""  # directory in which the workers of a gang find each other; only this user may read it


@dataclass(frozen=True, slots=True)
class Assignment:
    """A run as a worker needs it."""

    run: int
    config: str  # canonical JSON of the leaf config
    seed: int
    directory: str  # runs/<number>-<id>
    warm_start: WarmStart | None = None  # from the checkpoint in its directory
    kept: tuple[int, ...] = ()  # epochs whose ends stay durable, because other runs begin with them
    keep_next: bool = False  # the first epoch end that comes stays durable


@dataclass(frozen=True, slots=True)
class Preparation:
    """Run the MLSpec's `prepare`, unless its files exist already."""

    cfgs: tuple[str, ...]  # canonical JSON of the experiment's distinct leaf configs
    seed: int
    kept: bool = False  # runs have been trained with the existing files, which must not change


@dataclass(frozen=True, slots=True)
class Beginning:
    """A leaf config, and the weights of another run that its model is to begin with."""

    config: str  # canonical JSON
    seed: int
    weights: str  # path of the file


@dataclass(frozen=True, slots=True)
class Probe:
    """Check with torch and the MLSpec whether these leaf configs can be trained."""

    leaves: tuple[str, ...]  # canonical JSON
    continued: tuple[Assignment, ...] = ()  # runs that have a checkpoint: what are their data now?
    variants: tuple[str, ...] = ()  # more leaf configs, of which only the `train` section is checked
    seed: int = 0  # with which data are loaded where the length of a run is in question
    prepare: Preparation | None = None  # before the rest is answered
    measured: tuple[Assignment, ...] = ()  # runs to train for two steps: how much memory do they need?
    beginnings: tuple[Beginning, ...] = ()  # does the model take all these weights?


@dataclass(frozen=True, slots=True)
class Smoke:
    """Train one optimizer step of this leaf config, validate one batch, and save nothing."""

    config: str  # canonical JSON
    seed: int
    estimated: bool = False  # only estimate whether the device has enough memory, on tensors without data


@dataclass(frozen=True, slots=True)
class Rank:
    """The place of a worker in the gang that trains a run together."""

    rank: int  # 0, 1, …
    size: int  # of the gang
    gang: str  # names it; another word once one of its workers is another


@dataclass(frozen=True, slots=True)
class Train:
    """Take these runs to the tick `until` (a chunk of an epoch each), in a short turn on to `limit`."""

    runs: tuple[Assignment, ...]
    until: int
    limit: int = 0
    rank: Rank | None = None  # of this worker, if a gang trains them


@dataclass(frozen=True, slots=True)
class Evict:
    """Checkpoint the resident run and release it."""

    run: int


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Compute the loss and the metrics over a split."""

    split: Split
    metrics: tuple[str, ...] = ()  # to compute beside the run's own


@dataclass(frozen=True, slots=True)
class Predict:
    """Write what the model predicts for each row of a file or folder."""

    data: str  # path
    output: str  # path
    batch_size: int | None = None  # None means the run's `eval_batch_size`


@dataclass(frozen=True, slots=True)
class Export:
    """Write the model, in the form that its library reads, into a new directory."""

    directory: str
    merge: bool  # adapters into the model that they adapt
    config: str  # the leaf config, as YAML


@dataclass(frozen=True, slots=True)
class Use:
    """Open the model of a trained run and use it, without training; nothing of the run is changed."""

    assignment: Assignment
    at: Epoch
    task: Evaluate | Predict | Export


@dataclass(frozen=True, slots=True)
class EndTurn:
    """End the turn at the next optimizer step and publish a checkpoint."""


@dataclass(frozen=True, slots=True)
class Quit:
    """Leave; nothing is training."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Torch and the MLSpec are imported; the worker waits for orders."""

    pid: int
    device: str  # its name: "cpu", "NVIDIA H200"
    room: int  # bytes for runs at rest


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a probed leaf config."""

    leaf: int  # index into Probe.leaves and the variants after them, -1 for the MLSpec itself
    path: tuple[str, ...]  # of the knob
    code: str
    message: str
    found: str = ""
    expected: str = ""
    hint: str = ""
    of_key: bool = False  # the knob should not be there, whatever its value
    at: tuple[str, int, int, int] | None = None  # a Span of the user's code, which then is shown, not a knob
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Peak:
    """The most memory that a run occupied while it trained two steps and validated one batch."""

    run: int
    size: int = 0  # bytes of tensors on the device
    rest: int = 0  # bytes of them that it keeps while it waits
    failed: str = ""  # why it could not be measured, in one line


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of a device, in bytes."""

    total: int
    used: int  # by other processes, and by this one beside its tensors


@dataclass(frozen=True, slots=True)
class Probed:
    """The answer to a Probe; without findings, training can start."""

    findings: tuple[Finding, ...]
    measured: tuple[tuple[str, ...], ...] = ()  # each leaf's metrics by name; none where nobody can tell
    continued: tuple[RunOpened, ...] = ()  # as they would be opened now
    code: str = "{}"  # JSON: as in RunOpened
    texts: str = "{}"  # JSON: hashes of the same modules' bytes
    prepares: bool = False  # the MLSpec has a `prepare` of its own
    peaks: tuple[Peak, ...] = ()  # of the runs to be measured, in order
    memory: Memory | None = None  # of the device, where runs were measured


@dataclass(frozen=True, slots=True)
class Smoked:
    """The answer to a Smoke: its failures, or the knobs that were read."""

    findings: tuple[Finding, ...]
    read: tuple[tuple[str, ...], ...] = ()  # of the user's own
    unread: tuple[tuple[str, ...], ...] = ()  # of the user's own
    sought: tuple[tuple[str, ...], ...] = ()  # although they are not set
    rows: int = 0  # of the train split


@dataclass(frozen=True, slots=True)
class Used:
    """The answer to a Use: what went wrong, or what came of it."""

    findings: tuple[Finding, ...] = ()
    epoch: int = 0  # whose weights were used
    step: int = 0
    is_inside: bool = False  # the weights are later ones, from inside the epoch after that
    metrics: tuple[Metric, ...] = ()
    rows: int = 0
    opened: RunOpened | None = None  # the code and environment now, and the data where they were loaded
    texts: str = "{}"  # JSON: as in Probed
    unavailable: str = ""  # what the machine did not allow, such as a full disk


@dataclass(frozen=True, slots=True)
class Stranded:
    """A worker cannot reach the rest of the gang with which it trains a run, though no member has ended."""

    run: int
    cause: str


Order: TypeAlias = Setup | Probe | Smoke | Use | Train | Evict | EndTurn | Quit
Report: TypeAlias = (
    Ready
    | Probed
    | Smoked
    | Used
    | RunOpened
    | EpochEnded
    | Saved
    | CheckpointDamaged
    | DevicesChanged
    | TurnEnded
    | Evicted
    | RunFailed
    | Stranded
)


KINDS = by_name(
    (
        *(
            Objective,
            WarmStart,
            Setup,
            Preparation,
            Beginning,
            Probe,
            Smoke,
            Assignment,
            Rank,
            Train,
            Evict,
            EndTurn,
        ),
        *(
            Ready,
            Finding,
            Peak,
            Memory,
            Probed,
            Smoked,
            RunOpened,
            Metric,
            EpochEnded,
            Saved,
            CheckpointDamaged,
            DevicesChanged,
        ),
        *(TurnEnded, Evicted, RunFailed, Stranded, Evaluate, Predict, Export, Use, Used, Quit),
    )
)


def encode(message: Order | Report) -> bytes:
    """One line of JSON."""
    return json.dumps(to_plain(message)).encode() + b"\n"


def decode(line: bytes) -> Any:
    """The inverse of `encode`. Raises ValueError, KeyError or TypeError on anything else."""
    [message] = decode_all([line])
    return message


def decode_all(lines: Sequence[bytes]) -> Iterator[Any]:
    """The messages of several lines. Raises as `decode` does."""
    for plain in json.loads(b"[%s]" % b",".join(lines)):
        yield from_plain(plain, KINDS)
