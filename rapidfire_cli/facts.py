"""Facts: everything that can happen to an experiment, once.

Theory of operation. A fact is a frozen record in the past tense. A worker reports it, the scheduler and its
brackets take it in, the journal keeps it, and audiences are shown it: the same record all the way, so that no
stage translates for the next. What people and files know about an experiment (the live table, `status`,
`why`, `replay`, `repair`, what `fit` continues from) is a fold over facts.

Not every fact goes all the way: `Evicted` ends at the scheduler, and turns and requests are rows of tables
rather than events of the journal. What only the scheduler hears, because no worker reports it, is in
`schedule.events`.
This module stands above `stopping`, whose rules answer facts with `Decision`s.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from rapidfire_cli.requests import Answer, Request
from rapidfire_cli.terms import TRAIN, VALIDATION, Run, RunState, Split

# Workers


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    """A worker is up on a slot."""

    slot: int
    pid: int
    device: str
    host: str = ""  # its machine; empty for the controller's own


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """A worker is gone without being asked to leave."""

    slot: int
    cause: str  # "killed by SIGKILL", "exit code 3"
    run: int | None = None  # that it was training
    step: int = 0  # that the run had reached


@dataclass(frozen=True, slots=True)
class RunsPacked:
    """This number of runs share each GPU during the fit that begins."""

    runs: int
    why: str  # one line: what was measured, or what asks for it


@dataclass(frozen=True, slots=True)
class MemoryGiven:
    """A run that ran out of memory gets that of other slots of its GPU, which are used no longer."""

    run: int
    slots: tuple[int, ...]


# Turns, epochs, checkpoints


@dataclass(frozen=True, slots=True)
class Metric:
    """One value of an epoch."""

    split: Split
    name: str
    value: float


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A run trains on a slot from now on."""

    run: int
    slot: int
    until: int  # ticks


PREPARED = "prepare()"
"""The key in `RunOpened.data` of what the MLSpec's `prepare` made; no split is likely to have this name."""


@dataclass(frozen=True, slots=True)
class RunOpened:
    """A run is in memory, and what its bits depend on beside its config: hashes and versions by name."""

    run: int
    code: str  # JSON: the user's modules
    data: str  # JSON: splits, and what `prepare` made, under PREPARED
    environment: str  # JSON: packages, device, threads


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """A run finished its `epoch`-th epoch (from 1) after `step` optimizer steps in all."""

    run: int
    epoch: int
    step: int
    metrics: tuple[Metric, ...]
    seconds: float  # of this epoch's training and validation


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint is durable: the run can be continued from `at` whole ticks on."""

    run: int
    at: int
    step: int


@dataclass(frozen=True, slots=True)
class CheckpointDamaged:
    """A checkpoint is damaged; the one before is used."""

    run: int
    cause: str  # one line


@dataclass(frozen=True, slots=True)
class DevicesChanged:
    """A run continues on another number of devices: equal apart from rounding, not bit for bit."""

    run: int
    before: int
    now: int


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """A run's turn on a slot (its gang's first) ended; `at` counts the whole ticks trained so far."""

    run: int
    slot: int
    at: int
    step: int
    metrics: tuple[Metric, ...] = ()  # of training in the epoch under way; none between two epochs
    size: int = 0  # bytes that the run takes at rest: model, optimizer state
    shared: int = 0  # bytes of the worker's memory that its residents share: frozen weights


@dataclass(frozen=True, slots=True)
class Evicted:
    """A run is durable at `at` ticks and no longer resident."""

    run: int
    at: int


# Runs


@dataclass(frozen=True, slots=True)
class RunFailed:
    """User code or torch raised, or too many workers ended or hung while they trained the run."""

    run: int
    kind: str  # "error", "nan", "oom", "checkpoint", "died", "hung", …
    cause: str  # one line
    step: int
    traceback: str = ""  # its end; the run's log has all


@dataclass(frozen=True, slots=True)
class RunChanged:
    """A run's state is another from now on; `cause` is one line where it failed."""

    run: int
    state: RunState
    cause: str = ""


@dataclass(frozen=True, slots=True)
class RunAdmitted:
    """A run was born during the fit, and is listed in the manifest; its origin says why."""

    run: Run


@dataclass(frozen=True, slots=True)
class RunReplaced:
    """An admitted run takes the place of one that ran out of memory; `bracket` is that one's, if any."""

    run: int
    by: Run
    bracket: int | None = None


@dataclass(frozen=True, slots=True)
class RunPurged:
    """The files of a deleted run are gone; it cannot be restored."""

    run: int


@dataclass(frozen=True, slots=True)
class RequestTaken:
    """A person's request was decided about, with an answer for each run that it names."""

    request: Request
    answers: tuple[Answer, ...]


# Early stopping


@dataclass(frozen=True, slots=True)
class BracketBegun:
    """These runs are compared by a rule from now on."""

    bracket: int  # 1, 2, …
    rule: str  # its settings, as canonical JSON
    runs: tuple[int, ...]
    epochs: tuple[int, ...]  # that each of them trains when nothing ends it

    @property
    def goals(self) -> dict[int, int]:
        """The epochs by run."""
        return dict(zip(self.runs, self.epochs, strict=True))


@dataclass(frozen=True, slots=True)
class RunJoined:
    """A run that was born during the fit is compared with a bracket from now on."""

    run: int
    bracket: int
    epochs: int  # that it trains when nothing ends it


@dataclass(frozen=True, slots=True)
class RunLeft:
    """A run is compared with its bracket no longer; `cause` says in a few words why."""

    run: int
    bracket: int
    cause: str
    worst: bool = False  # it still counts among those that began, and ranks worst, like a failure


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a decision means for one run, and why: its value and its rank (1 is best) among those known."""

    run: int
    value: float | None
    rank: int
    promoted: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """At a rung, some go on and some end; the `cut` is the value of the last rank that goes on."""

    bracket: int  # 1, 2, …
    rule: str  # which policy took it: "halving", "async", or the word of its rule
    rung: int  # 1, 2, …
    epochs: int  # the rung's level
    known: int  # results that it knew
    keep: int  # ranks that go on
    cut: float | None
    until: int  # epochs that those who go on may train to
    verdicts: tuple[Verdict, ...]
    failed: tuple[int, ...] = ()  # runs that it counted as worst; no later attempt of theirs can count
    offsets: tuple[tuple[int, int], ...] = ()  # of forks: run, and the epochs of `epochs` before its first

    def limit(self, run: int) -> int:
        """The epochs of its own that a promoted run may train to."""
        return self.until - dict(self.offsets).get(run, 0)


Fact: TypeAlias = (
    WorkerStarted
    | WorkerDied
    | RunsPacked
    | MemoryGiven
    | TurnStarted
    | RunOpened
    | EpochEnded
    | Saved
    | CheckpointDamaged
    | DevicesChanged
    | TurnEnded
    | RunFailed
    | RunChanged
    | RunAdmitted
    | RunReplaced
    | RunPurged
    | RequestTaken
    | BracketBegun
    | RunJoined
    | RunLeft
    | Decision
)
"""What the journal keeps and audiences are shown."""


# Metrics as people name them


def by_split(metrics: Iterable[Metric]) -> dict[Split, dict[str, float]]:
    """Epoch-end values as `{split: {name: value}}`."""
    values: dict[Split, dict[str, float]] = {}
    for metric in metrics:
        values.setdefault(metric.split, {})[metric.name] = metric.value
    return values


def reading(known: Mapping[Split, Collection[str]], metric: str) -> tuple[Split, str]:
    """The split and name that a metric is read by.

    `train.loss` says its split; a bare name means validation, or training where nothing was ever validated.
    A name can hold dots itself: what stands before the first one is a split only if it has such a metric.
    """
    split, _, name = metric.partition(".")
    if name in known.get(split, ()):
        return split, name
    return (VALIDATION if VALIDATION in known or not known else TRAIN), metric


def compared_value(metrics: Iterable[Metric], metric: str) -> float | None:
    """The value of the metric by which runs are compared; None where the epoch has none."""
    splits = by_split(metrics)
    split, name = reading(splits, metric)
    return splits.get(split, {}).get(name)
