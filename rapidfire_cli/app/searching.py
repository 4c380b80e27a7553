"""The searches of a fit: they propose runs as results come, one at a time, while a slot has nothing to train.

Theory of operation
-------------------
`ready` is asked again and again and never blocks. When fewer runs are unfinished than there are slots, it
reads the ledger, and hands a question to the process that asks Optuna; later calls look for the answer. Only
what is durable takes part, so a fit that is killed between the question and the manifest asks the same again.
"""

import json
import os
import pickle
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from types import TracebackType
from typing import Self

from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.engine.jobs import Paused
from rapidfire_cli.facts import reading
from rapidfire_cli.manifest.size import asked
from rapidfire_cli.search.proposing import (
    NamedSearch,
    Outcome,
    Question,
    Unfinished,
    ended,
    later_runs,
    proposed,
    pruned,
    question,
    searches,
)
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import RunRow, overview
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import UNFINISHED, Proposal, Run, RunState

SAMPLER = (sys.executable, "-P", "-m", "rapidfire_cli.app.sampler_process")
NEEDS = {"tpe": ("optuna",), "gp": ("optuna", "scipy"), "cmaes": ("cmaes",), "qmc": ("scipy",)}
"""The packages that the samplers need."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question under way."""

    each: NamedSearch
    place: int
    known: dict[Run, Outcome]
    answer: "Future[str | None]"


class Searches:
    """The searches of a file, which go on with the proposals among `runs`."""

    def __init__(self, home: ExperimentDir, file: ExperimentFile, runs: Iterable[Run], slots: int) -> None:
        self._home = home
        self._file = file
        self._slots = slots
        self._runs: dict[int, Run] = {}
        self._places: dict[str, list[int]] = defaultdict(list)  # of proposals, by the name of their search
        self._searches = list(searches(file))
        self._asked: _Asked | None = None
        self._sampler = SamplerProcess()
        self.brackets: Mapping[int, int] = {}  # that proposals join, by group
        self.said: list[str] = []  # about searches that ended early
        for run in runs:
            self.learn(run)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sampler.close()

    @property
    def is_open(self) -> bool:
        """Whether there may be more proposals."""
        return any(map(self._left, self._searches))

    def learn(self, run: Run) -> None:
        """Take in that a run was admitted."""
        self._runs[run.number] = run
        if isinstance(run.origin, Proposal):
            self._places[run.origin.search].append(run.origin.place)

    def ready(self, free: int, unfinished: Callable[[], int], waiting: Collection[int] = ()) -> Run | None:
        """The next proposal, with the number `free`; None if there is none now. Raises Paused.

        The runs that are `waiting` for weights need no slot.
        """
        if self._asked is None:
            each = next(filter(self._left, self._searches), None)
            if each and unfinished() < self._slots:
                self._ask(each, waiting)
            return None
        if not self._asked.answer.done():
            return None
        found, self._asked = self._asked, None
        config = found.answer.result()
        if [*found.known] != self._among(found.each):
            return None  # another run has joined the group: the proposal must know of it
        if config is None:
            self._searches.remove(found.each)
            self.said.append(f"search in group {found.each.group} ended early: no further config was found")
            return None
        return proposed(self._file, found.each, found.place, found.known, free, config)

    def _among(self, each: NamedSearch) -> list[Run]:
        """The runs of the search's group: those that it made, and others that are like them."""
        return [run for run in self._runs.values() if run.group == each.group]

    def _left(self, each: NamedSearch) -> bool:
        return later_runs(each.search) > len(self._places[each.name])

    def _ask(self, each: NamedSearch, waiting: Collection[int]) -> None:
        """Ask for a proposal, if the ledger knows all runs and leaves a slot idle, too."""
        rows = {row.number: row for row in overview(self._home.journal, alive=True).rows}
        if self._runs.keys() - rows.keys():
            return
        training = (row for row in rows.values() if row.number not in waiting)
        if sum(row.state in UNFINISHED for row in training) >= self._slots:
            return
        known = {run: outcome(rows[run.number], each.search.metric) for run in self._among(each)}
        place = 1 + max(self._places[each.name], default=asked(each.search))
        answer = self._sampler.ask(question(self._file, each, place, known))
        self._asked = _Asked(each, place, known, answer)


class SamplerProcess:
    """The process that asks Optuna; it is started for the first question."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._closed = False

    def ask(self, asked: Question) -> "Future[str | None]":
        """Ask for a proposal, without waiting; the result may raise Paused."""
        self._thread = self._thread or ThreadPoolExecutor(1, "sampler")
        return self._thread.submit(self._answer, asked)

    def close(self) -> None:
        """End the process at once, and no question starts another."""
        self._closed = True
        if self._process:
            self._process.kill()
        if self._thread:
            self._thread.shutdown(cancel_futures=True)  # it may have been about to start the process
        if self._process:
            self._process.kill()
            self._process.communicate()

    def _answer(self, asked: Question) -> str | None:
        if self._process is None:
            quiet = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
            self._process = subprocess.Popen(
                (*SAMPLER, f"{os.getpid()}"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=quiet,
                start_new_session=True,
            )
        if self._closed:
            self._process.kill()
        assert self._process.stdin and self._process.stdout
        try:
            pickle.dump(asked, self._process.stdin)
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = b""
        if not line:
            raise Paused(f"the process that asks Optuna ended with exit code {self._process.wait()}")
        config: str | None = json.loads(line)
        return config


def outcome(row: RunRow, metric: str) -> Outcome:
    """What became of a run, as far as the ledger knows."""
    if row.state in UNFINISHED:
        return Unfinished()
    if row.state not in (RunState.COMPLETED, RunState.PRUNED):
        return ended(None)
    split, name = reading({split: [*named] for split, named in row.metrics.items()}, metric)
    value = row.metrics.get(split, {}).get(name)
    return pruned(row.epoch, value) if row.state is RunState.PRUNED else ended(value)


def check_sampler(file: ExperimentFile) -> None:
    """Raises Unavailable if a sampler of the file's searches needs a package that is missing."""
    for search in (each.search for each in searches(file) if later_runs(each.search)):
        for package in NEEDS[search.sampler]:
            if find_spec(package) is None:
                hint = "pip install 'rapidfire-cli[optuna]'"
                raise Unavailable(f"`sampler: {search.sampler}` needs the package {package}: {hint}")
