"""A sweep in a journal, as a fit would leave it: brackets, replicates, a failure, a clone, requests."""

import math
import random
from collections.abc import Iterable, Iterator

from rapidfire_cli.facts import (
    BracketBegun,
    Decision,
    EpochEnded,
    Fact,
    Metric,
    RequestTaken,
    RunAdmitted,
    RunChanged,
    RunFailed,
    TurnEnded,
    TurnStarted,
    WorkerStarted,
)
from rapidfire_cli.requests import Answer, CloneRun, Request
from rapidfire_cli.stopping.bracket import BracketState, bracket_state
from rapidfire_cli.stopping.halving import HalvingRule
from rapidfire_cli.stopping.registry import settings
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.metadata import Metadata
from rapidfire_cli.terms import Clone, Objective, Run, RunState, canonical

VARIED = ("user_knobs.model", "user_knobs.dropout", "train.batch_size", "train.optimizer.args.lr")
OBJECTIVE = Objective("top1_accuracy", "max")
STEPS = 40  # to an epoch
RULE = HalvingRule("top1_accuracy", "max", 1, 9, 3)


def config(number: int, epochs: int, seed: int = 1) -> dict:
    drawn = random.Random(seed * 1_000_003 + number)
    return {
        "user_knobs": {
            "model": drawn.choice(("mlp", "cnn", "vit")),
            "dropout": drawn.choice((0.0, 0.1, 0.3)),
        },
        "train": {
            "epochs": epochs,
            "batch_size": drawn.choice((32, 64, 128)),
            "optimizer": {"name": "AdamW", "args": {"lr": round(10 ** drawn.uniform(-4.5, -1), 7)}},
        },
    }


def curve(leaf: dict, epoch: int, noise: random.Random) -> tuple[float, float]:
    """The loss and the accuracy that a run of this config would reach."""
    lr = math.log10(leaf["train"]["optimizer"]["args"]["lr"])
    model = {"mlp": 0.06, "cnn": 0.0, "vit": 0.03}[leaf["user_knobs"]["model"]]
    bad = 0.05 * (lr + 2.6) ** 2 + model + 0.05 * leaf["user_knobs"]["dropout"]
    left = math.exp(-epoch / (3 + 30 * bad)) * 0.8 + bad
    loss = max(0.01, 2.3 * left + noise.gauss(0, 0.012))
    return loss, max(0.05, min(0.999, 1 - left + noise.gauss(0, 0.006)))


def ended(run: int, leaf: dict, epoch: int) -> EpochEnded:
    noise = random.Random(run * 1009 + epoch)
    loss, accuracy = curve(leaf, epoch, noise)
    metrics = (
        Metric("train", "loss", loss * 0.9),
        Metric("validation", "loss", loss),
        Metric("validation", "top1_accuracy", accuracy),
    )
    return EpochEnded(run, epoch, epoch * STEPS, metrics, seconds=2 + noise.random())


def enrol(
    home: ExperimentDir, runs: list[Run], epochs: int, name: str = "sweep", chunks: int = 1
) -> SqliteJournal:
    now = iter(range(1_700_000_000, 1_800_000_000))
    journal = SqliteJournal(home.journal, clock=lambda: float(next(now)))
    journal.enroll(Metadata(name, OBJECTIVE, VARIED, chunks), runs, [epochs] * len(runs))
    return journal


def runs_of(count: int, epochs: int, replicates: int = 1) -> list[Run]:
    return [
        Run(
            number,
            f"{number:016x}",
            1,
            canonical(config((number - 1) // replicates, epochs)),
            42 + (number - 1) % replicates,
            (number - 1) % replicates,
        )
        for number in range(1, count + 1)
    ]


def halving(home: ExperimentDir, count: int = 27, epochs: int = 9) -> None:
    """A bracket of successive halving that is over, with a failure, and a clone that still trains."""
    runs = runs_of(count, epochs)
    leaves = {run.number: run.leaf for run in runs}
    journal = enrol(home, runs, epochs)
    goals = {run.number: epochs for run in runs}
    state = bracket_state(RULE, 1, goals, ())
    journal.record([WorkerStarted(0, 4711, "cpu"), WorkerStarted(1, 4712, "cpu")])
    journal.record([BracketBegun(1, settings(RULE), tuple(goals), tuple(goals.values()))])
    reached = dict.fromkeys(goals, 0)
    while open_runs := [run for run in goals if reached[run] < state.limits[run] and run not in state.pruned]:
        for run in open_runs:
            journal.record([*_epoch(state, run, leaves[run], reached[run] + 1, epochs)])
            reached[run] += 1
    journal.record([*_failure(5), *_clone(leaves[9], count + 1, epochs)])
    journal.close()


def _epoch(state: BracketState, run: int, leaf: dict, epoch: int, epochs: int) -> Iterator[Fact]:
    slot = run % 2
    if epoch == 1:
        yield RunChanged(run, RunState.RUNNING)
    yield TurnStarted(run, slot, epoch)
    found = ended(run, leaf, epoch)
    yield found
    yield TurnEnded(run, slot, epoch, epoch * STEPS)
    decisions = state.report(found)
    yield from decisions
    yield from _pruned(decisions)
    if epoch == epochs:
        yield RunChanged(run, RunState.COMPLETED)


def _pruned(decisions: Iterable[Decision]) -> Iterator[Fact]:
    for decision in decisions:
        yield from (RunChanged(each.run, RunState.PRUNED) for each in decision.verdicts if not each.promoted)


def _failure(run: int) -> Iterator[Fact]:
    cause = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x784 and 100x10)"
    yield RunFailed(run, "error", cause, 41)
    yield RunChanged(run, RunState.FAILED, cause)


def _clone(leaf: dict, number: int, epochs: int) -> Iterator[Fact]:
    leaf["train"]["optimizer"]["args"]["lr"] = 0.0025
    leaf["train"]["optimizer"]["args"]["weight_decay"] = 0.05
    clone = Run(number, f"{number:016x}", 1, canonical(leaf), 42, origin=Clone(9))
    ask = CloneRun((9,), ("train.optimizer.args.lr=0.0025", "+train.optimizer.args.weight_decay=0.05"))
    request = Request("00000000-0000-0000-0000-000000000001", "cli", ask, uid=1000, pid=77)
    yield RequestTaken(request, (Answer(9, "applied", f"cloned as run {number}", changed=True, born=number),))
    yield RunAdmitted(clone)
    yield RunChanged(number, RunState.RUNNING)
    for epoch in range(1, epochs // 2 + 1):
        yield TurnStarted(number, 0, epoch)
        yield ended(number, leaf, epoch)
        yield TurnEnded(number, 0, epoch, epoch * STEPS)
    yield TurnStarted(number, 0, epochs)


def grid(home: ExperimentDir, count: int, epochs: int, replicates: int = 1, every: int = 200) -> None:
    """Runs without a bracket, all completed."""
    runs = runs_of(count, epochs, replicates)
    journal = enrol(home, runs, epochs)
    for start in range(0, count, every):
        facts: list[Fact] = []
        for run in runs[start : start + every]:
            leaf = run.leaf
            facts += [ended(run.number, leaf, epoch) for epoch in range(1, epochs + 1)]
            facts.append(RunChanged(run.number, RunState.COMPLETED))
        journal.record(facts)
    journal.close()
