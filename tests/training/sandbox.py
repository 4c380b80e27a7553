"""A worker's place without the worker: Residents in the test's process, what they told and what they left."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from rapidfire_cli.engine.messages import Assignment, Evict, Setup, Train
from rapidfire_cli.facts import CheckpointDamaged, EpochEnded, RunFailed
from rapidfire_cli.training import dynamo
from rapidfire_cli.training.executor import Executor

dynamo.defer()  # as a worker does: else the first optimizer imports torch's compiler
SPECS = "tests.training.specs"
ADAM = {"name": "Adam", "args": {"lr": 0.01}}


def leaf(optimizer=ADAM, epochs=3, batch_size=8, named_metrics=("top1_accuracy",), user_knobs=None, **train):
    """A leaf config as nested dicts."""
    train = {"epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, **train}
    return {"train": train, "named_metrics": list(named_metrics), "user_knobs": user_knobs or {}}


class Clock:
    """A clock on which so many seconds pass each time one looks."""

    def __init__(self, pace=1.0):
        self.now = 0.0
        self.pace = pace

    def __call__(self):
        self.now += self.pace
        return self.now


class TrainingSandbox:
    """Residents over `directory`; another one on the same directory starts from what is durable."""

    def __init__(
        self,
        directory,
        spec="Blobs",
        *,
        chunks=1,
        checkpoint_every=1e9,
        data_cache=2**20,
        data=None,
        objective=None,
        keep="resume",
        pace=1.0,
        room=2**40,
        data_workers=0,
        prefetch=0,
        disk_cache=0,
        device="cpu",
    ):
        self.directory = Path(directory)
        self.told = []
        self.pulses = 0
        self.steps = []  # as progress was marked
        self.stop_at = None  # the pulse that finds an EndTurn
        self.break_at = None  # the report that finds the pipe broken
        setup = Setup(
            mlspec=spec if ":" in spec else f"{SPECS}:{spec}",
            data=json.dumps(data),
            misc=str(self.directory / "misc"),
            prepared=str(self.directory / "prepared"),
            device=device,
            threads=1,
            chunks=chunks,
            checkpoint_every=checkpoint_every,
            data_cache=data_cache,
            objective=objective,
            keep=keep,
            data_workers=data_workers,
            prefetch=prefetch,
            disk_cache=disk_cache,
            rows=str(self.directory / "rows"),
            gangs=str(self.directory / "gangs"),
        )
        self.executor = Executor(
            setup, self._tell, self._stop_requested, self.steps.append, Clock(pace), room
        )

    def train(self, config, until, run=1, seed=42, limit=0):
        """Give the run a turn; what was told during it."""
        before = len(self.told)
        assignment = Assignment(run, json.dumps(config), seed, str(self.directory / f"{run}"))
        self.executor.train(Train((assignment,), until, limit))
        return self.told[before:]

    def evict(self, run=1):
        """Let go of the run; what was told of it."""
        before = len(self.told)
        self.executor.evict(Evict(run))
        return self.told[before:]

    def epochs(self, run=1):
        """The run's epoch-end metrics, by epoch: the last told of each counts."""
        ended = [one for one in self.told if isinstance(one, EpochEnded) and one.run == run]
        return {one.epoch: {(each.split, each.name): each.value for each in one.metrics} for one in ended}

    def weights(self, run=1):
        """The run's final weights."""
        return load_file(self.directory / f"{run}" / "final.safetensors")

    def log(self, run=1):
        """What was printed while the run trained."""
        return (self.directory / f"{run}" / "log.txt").read_text()

    def failure(self, run=1):
        """The one failure told of the run."""
        (failure,) = [one for one in self.told if isinstance(one, RunFailed) and one.run == run]
        return failure

    def damage(self, run=1):
        """What was told of the run's damaged checkpoints."""
        return [one.cause for one in self.told if isinstance(one, CheckpointDamaged) and one.run == run]

    def checkpoints(self, run=1):
        """The run's published checkpoints, oldest first."""
        return sorted((self.directory / f"{run}").glob("step-*"))

    def _tell(self, report):
        if len(self.told) + 1 == self.break_at:
            raise BrokenPipeError
        self.told.append(report)

    def _stop_requested(self):
        self.pulses += 1
        return self.pulses == self.stop_at


def same(one, other):
    """Whether two sets of weights are equal in every bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
