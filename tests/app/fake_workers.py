"""Whole fits in one process: workers only pretend to train, in an order drawn from a seed, and die.

Everything else is real: the file, the plan, the scheduler, the driver, the journal. A pretended run's metric
is a function of its learning rate and epoch; its checkpoints outlive its worker, as files would.
"""

import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rapidfire_cli import facts
from rapidfire_cli.app import workplaces
from rapidfire_cli.app.ci import Shard
from rapidfire_cli.app.devices import DeviceRequest
from rapidfire_cli.app.experiments import load_experiment
from rapidfire_cli.app.files import Given
from rapidfire_cli.app.verbs import fit
from rapidfire_cli.durable import publication
from rapidfire_cli.engine import driver, messages
from rapidfire_cli.engine.checkpoints import KEPT, ORIGIN, STATE, Reached, name, to_facts
from rapidfire_cli.engine.messages import Assignment, Order, Report
from rapidfire_cli.engine.ports import Heartbeat, Slot, Worker, WorkerGone
from rapidfire_cli.engine.signals import StopSignal
from rapidfire_cli.facts import Decision, EpochEnded, Fact, Metric
from rapidfire_cli.store.history import Past, history
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import RunState, canonical

Curve = Callable[[float, int], float | None]
"""The metric of a run with this learning rate after this epoch; None where the run fails."""


class Crash(BaseException):
    """The controller is killed."""


@dataclass
class FaultRates:
    """How much goes wrong, by probabilities."""

    seed: int = 0
    deaths: float = 0.0  # of the worker, in each order
    saves: float = 0.0  # of a checkpoint, after each epoch
    crashes: float = 0.0  # of the controller, at each batch of facts
    decisions: float = math.inf  # after which the controller certainly dies
    moments: float = math.inf  # at the last of which it does: before and after anything is kept

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def strikes(self, probability: float) -> bool:
        return self.random.random() < probability


@dataclass
class FakeWorker:
    """A worker."""

    cli: "Cli"
    faults: FaultRates
    slot: int
    share: float = 1.0  # of the device's memory
    orders: deque[Order] = field(default_factory=deque)
    held: dict[int, list[EpochEnded]] = field(default_factory=dict)
    killed: bool = False

    def send(self, order: Order) -> None:
        if not self.killed:
            self.orders.append(order)

    def receive(self) -> Iterator[Report]:
        if not self.orders:
            return
        trains = isinstance(self.orders[0], messages.Train | messages.Evict)
        dies = trains and self.faults.strikes(self.faults.deaths)
        reports = self.obey()
        if dies:
            self.faults.deaths /= 2  # or a run would be given up in the end
            yield from reports[: self.faults.random.randrange(len(reports) + 1)]
            raise WorkerGone("killed by SIGKILL")
        yield from reports

    def heartbeat(self) -> Heartbeat:
        return Heartbeat(0, 0)

    def dump(self) -> None:
        """It never hangs."""

    def kill(self) -> None:
        self.orders.clear()
        self.killed = True

    def obey(self) -> list[Report]:
        match self.orders.popleft():
            case messages.Setup():
                return [messages.Ready(1, "cpu", 10**9)]
            case messages.Probe():
                return [messages.Probed(())]
            case messages.Train((assignment,), until):
                return [*self._turn(assignment, until)]
            case messages.Evict(run):
                ended = self.held.pop(run)
                self.cli.checkpoints[run] = list(ended)
                return [facts.Saved(run, len(ended), len(ended)), facts.Evicted(run, len(ended))]
        return []

    def _turn(self, assignment: Assignment, until: int) -> Iterator[Report]:
        run, leaf = assignment.run, _leaf(assignment)
        origin = Path(assignment.directory) / ORIGIN
        if assignment.warm_start and run not in self.cli.checkpoints and not origin.is_dir():
            yield facts.RunFailed(run, "warm_start", "no weights to begin with", 0)
            return
        if run not in self.held:
            self.held[run] = list(self.cli.checkpoints.get(run, ()))
            yield from self.held[run]
        ended = self.held[run]
        while len(ended) < until:
            epoch = len(ended) + 1
            if leaf["train"]["batch_size"] > self.cli.fits * self.share and epoch >= self.cli.fills:
                del self.held[run]
                yield facts.RunFailed(run, "oom", "out of memory", epoch)
                return
            value = self.cli.curve(leaf["train"]["optimizer"]["args"]["lr"], epoch)
            if value is None:
                del self.held[run]
                yield facts.RunFailed(run, "error", "ValueError: no", epoch)
                return
            metric = Metric("validation", "quality", value)
            ended.append(EpochEnded(run, epoch, epoch, (metric,), 0.1))
            yield ended[-1]
            if self.cli.keeps and epoch in assignment.kept:
                keep(assignment, ended)
            if epoch == leaf["train"]["epochs"] or self.faults.strikes(self.faults.saves):
                self.cli.checkpoints[run] = list(ended)
                yield facts.Saved(run, epoch, epoch)
        if len(ended) == leaf["train"]["epochs"]:
            del self.held[run]
        yield facts.TurnEnded(run, self.slot, len(ended), len(ended), size=1)


def keep(assignment: Assignment, ended: Sequence[EpochEnded]) -> None:
    """Keep the end of the epoch as a worker does, without any weights."""
    epoch, directory = len(ended), Path(assignment.directory) / KEPT / name(len(ended), len(ended))
    reached = Reached(assignment.run, epoch, epoch, epoch, 1, tuple(ended), None, epoch_end=True)
    if not directory.is_dir():
        publication.publish(directory, {STATE: Path.touch}, to_facts(reached))


def _leaf(assignment: Assignment) -> dict[str, Any]:
    import json

    leaf: dict[str, Any] = json.loads(assignment.config)
    return leaf


@dataclass
class Audience:
    """Nobody, who may see the controller die."""

    faults: FaultRates
    crew: list[FakeWorker]
    facts: list[Fact] = field(default_factory=list)

    def tell(self, facts: Sequence[Fact]) -> None:
        self.facts += facts
        self.faults.decisions -= sum(isinstance(fact, Decision) for fact in facts)
        crash(self.faults, self.crew, facts)


def crash(faults: FaultRates, crew: Sequence[FakeWorker], facts: Sequence[Fact]) -> None:
    """Perhaps kill the controller; some workers get something done before they die with it."""
    faults.moments -= bool(facts)
    if facts and (min(faults.decisions, faults.moments) <= 0 or faults.strikes(faults.crashes)):
        for worker in crew:
            while worker.orders and faults.strikes(0.5):
                worker.obey()
        raise Crash


@dataclass
class Cli:
    """An experiment's place, and what stays when everything dies."""

    path: Path
    curve: Curve
    checkpoints: dict[int, list[EpochEnded]] = field(default_factory=dict)
    fits: float = math.inf  # the largest batch for which there is memory
    fills: int = 1  # the epoch in which memory runs out for larger ones
    parent: Path | None = None  # of experiments, where others share it
    shared: bool = False  # whether only a slot's share of that is for its worker
    keeps: bool = False  # whether workers keep the epoch ends that other runs begin with
    idle: int = 0  # how often in a row nobody may have anything to do: others than workers are waited for

    @property
    def home(self) -> ExperimentDir:
        return ExperimentDir((self.parent or self.path / "experiments") / "file")

    @property
    def past(self) -> tuple[Past, ...]:
        return history(self.home.journal)

    @property
    def decisions(self) -> list[Decision]:
        return [event for event in self.past if isinstance(event, Decision)]

    @property
    def states(self) -> dict[int, RunState]:
        return {one.run.number: one.state for one in known_runs(self.home.journal, 1)}

    def fit(
        self, text: str, faults: FaultRates, workers: int = 2, shard: Shard | None = None, **asked: Any
    ) -> bool:
        """Fit once; False when the controller was killed."""
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / "file.yaml"
        file.write_text(text)
        crew: list[FakeWorker] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workplaces, "LocalBackend", lambda slots, *_: Crew(slots, self, faults, crew))
            patch.setattr(driver, "COMMIT_INTERVAL", 0.0)  # so that it may die after any fact
            patch.setattr(fit, "SqliteJournal", lambda path: Journal(path, faults, crew))
            loaded = load_experiment(Given(file), str(self.home.path.parent))
            request = fit.Request(DeviceRequest(workers), shard, **asked)
            try:
                fit.train(loaded, request, StopSignal(), lambda _: _watching(Audience(faults, crew)))
            except Crash:
                return False
        return True

    def fit_through(self, text: str, faults: FaultRates, workers: int = 2) -> int:
        """Fit again and again until nothing kills the controller; how often it was killed."""
        killed = 0
        while not self.fit(text, faults, workers):
            killed += 1
        return killed


@contextmanager
def _watching(audience: Audience) -> Iterator[Audience]:
    yield audience


class Journal(SqliteJournal):
    """A journal whose process may die before it wrote anything down; the machine never does."""

    def __init__(self, path: Path, faults: FaultRates, crew: Sequence[FakeWorker]) -> None:
        super().__init__(path)
        self._faults, self._crew = faults, crew

    def take(self, facts: Sequence[Fact]) -> None:
        try:
            crash(self._faults, self._crew, facts)
        except Crash:
            self.close()  # as the kernel does for a dead process: what was not committed is gone
            raise
        self._db.execute("PRAGMA synchronous = OFF")
        super().take(facts)


class Crew:
    """Where workers come from, and whose turn it is to report."""

    def __init__(self, slots: Sequence[Slot], cli: Cli, faults: FaultRates, crew: list[FakeWorker]) -> None:
        self.slots = slots
        self._cli, self._faults, self._crew = cli, faults, crew
        self._idle = 0

    def start(self, slot: Slot) -> FakeWorker:
        share = slot.share if self._cli.shared else 1.0
        worker = FakeWorker(self._cli, self._faults, slot.index, share)
        worker.send(messages.Setup("", "null", "", slot.device, 1, 1, 30, 0))
        self._crew.append(worker)
        return worker

    def wait(self, workers: Sequence[Worker], timeout: float) -> Sequence[Worker]:
        busy = [worker for worker in workers if isinstance(worker, FakeWorker) and worker.orders]
        if not busy:
            self._idle += 1
            if self._idle > self._cli.idle:
                raise AssertionError("everybody waits for somebody")
            time.sleep(0.01)
            return []
        self._idle = 0
        return self._faults.random.sample(busy, self._faults.random.randint(1, len(busy)))


def sha(runs: int = 8, **settings: object) -> str:
    """An experiment file with one bracket."""
    said = {"min_epochs": 1, "max_epochs": 8, "reduction_factor": 2, **settings}
    arguments = canonical({"num_runs": runs, "metric": "quality", "direction": "max", **said})  # type: ignore[dict-item]
    return f"mlspec: none:None\nsha: {{{arguments[1:-1]}, {TRAIN}}}\n"


TRAIN = "train: {epochs: 8, batch_size: 1, optimizer: {name: SGD, args: {lr: !range {start: 0.0, end: 1.0}}}}"
