"""Plain progress without a terminal: one line per epoch or chunk, for people and grep."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO, assert_never

from rapidfire_cli.facts import (
    BracketBegun,
    CheckpointDamaged,
    Decision,
    DevicesChanged,
    EpochEnded,
    Fact,
    MemoryGiven,
    RequestTaken,
    RunAdmitted,
    RunChanged,
    RunFailed,
    RunJoined,
    RunLeft,
    RunOpened,
    RunPurged,
    RunReplaced,
    RunsPacked,
    Saved,
    TurnEnded,
    TurnStarted,
    WorkerDied,
    WorkerStarted,
    by_split,
)
from rapidfire_cli.terms import Fork, Run, RunState
from rapidfire_cli.view.wording import counted

WORTH_A_LINE = frozenset({RunState.INTERRUPTED, RunState.STOPPED, RunState.PRUNED, RunState.DELETED})


class Lines:
    """Writes lines for log files; `epochs` says how many each run trains, in `chunks` turns each."""

    def __init__(self, stream: TextIO, epochs: Mapping[int, int], chunks: int = 1) -> None:
        self._stream = stream
        self._epochs = {**epochs}
        self._chunks = chunks

    def tell(self, facts: Sequence[Fact]) -> None:
        """Write a line for each fact that has one."""
        for fact in facts:
            if isinstance(fact, RunAdmitted):
                self._epochs[fact.run.number] = fact.run.leaf["train"]["epochs"]
        lines = [line for fact in facts for line in told(fact, self._epochs, self._chunks)]
        if lines:
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()


def told(fact: Fact, epochs: Mapping[int, int], chunks: int = 1) -> Iterator[str]:
    """The lines of a fact; most facts have none."""
    match fact:
        case EpochEnded(run, epoch, _, metrics):
            splits = [
                " ".join([split, *(f"{name} {value:.4g}" for name, value in named.items())])
                for split, named in by_split(metrics).items()
            ]
            yield "  ".join([f"run {run}", f"epoch {epoch}/{epochs[run]}", *splits])
        case TurnEnded(run, _, at, _, (_, *_) as metrics):
            named = " ".join(f"{metric.name} {metric.value:.4g}" for metric in metrics)
            yield f"run {run}  epoch {at / chunks:.4g}/{epochs[run]}  train so far {named}"
        case RunAdmitted(Run(number, origin=Fork(_, at, _, source, instead))):
            yield f"run {number}  forked from run {source} at epoch {at}, in place of run {instead}"
        case RunReplaced(run, by):
            yield f"run {by.number}  replaces run {run}"
        case RunChanged(run, RunState.FAILED, cause):
            yield f"run {run}  failed: {cause}"
        case RunChanged(run, state) if state in WORTH_A_LINE:
            yield f"run {run}  {state}"
        case Decision(bracket, _, rung, level, verdicts=(verdict,)):
            what = "promoted" if verdict.promoted else "pruned"
            yield f"bracket {bracket}  rung {rung} at epoch {level}: run {verdict.run} {what}"
        case Decision(bracket, _, rung, level, verdicts=(_, *_) as verdicts):
            on = sum(verdict.promoted for verdict in verdicts)
            yield f"bracket {bracket}  rung {rung} at epoch {level}: {on} of {len(verdicts)} promoted"
        case CheckpointDamaged(run, cause):
            yield f"run {run}  skipped a damaged checkpoint: {cause}"
        case DevicesChanged(run) | MemoryGiven(run):
            yield f"run {run}  {devices_text(fact)}"
        case WorkerDied(slot, cause):
            yield f"worker {slot}  died: {cause}"
        case (
            TurnEnded() | RunChanged() | TurnStarted() | WorkerStarted() | Saved() | RunOpened() | RunFailed()
        ):
            pass
        case BracketBegun() | Decision() | RunJoined() | RunLeft() | RunAdmitted() | RunPurged():
            pass
        case RequestTaken():
            pass
        case RunsPacked():  # `fit` prints it before it starts the workers
            pass
        case _:
            assert_never(fact)


def devices_text(fact: DevicesChanged | MemoryGiven) -> str:
    """What happened to the run's devices, without its number."""
    match fact:
        case DevicesChanged(_, before, now):
            what = f"continues on {counted(now, 'device')}, before on {before}"
            return f"{what}: equal apart from rounding, not bit for bit"
        case MemoryGiven(_, slots):
            word = "slot" if len(slots) == 1 else "slots"
            return f"ran out of memory and gets that of {word} {' and '.join(map(str, slots))}"
        case _:
            assert_never(fact)
