"""The data workers of a worker: processes that prepare batches ahead, for all runs that it trains.

Theory of operation. A *feed* is the rest of an epoch of one run: batches in their order. It keeps at most
`ahead` batches in preparation or ready. Each batch is a task of the data worker that has the fewest tasks.
The feed yields batches in order. When all tasks of an epoch are submitted, the first ones of the validation
and of the next epoch follow. Messages are exchanged only while training waits for a batch; in between, data
workers process their queued tasks. A feed outlives the turn that created it: ready batches wait for the next
turn.

Data workers are started when the first batch is requested and live until the worker ends. Each opens a run by
loading its data and calling its `initialize_run`. If a data worker finds data, code or settings that differ
from the worker's, or if opening fails, the run's rows are prepared in the worker instead (`Unusable`).

If a data worker ends, the task that it was processing fails with the row that its page names. Its other tasks
go to a new data worker. So a row that kills its process fails only its own run.

Why not torch's DataLoader: it draws from the global streams when an epoch begins, restarts its processes for
each epoch, forks after CUDA and threads have started, and needs /dev/shm.
"""

import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeAlias, assert_never

import numpy as np
from torch import Tensor

import rapidfire_cli
from rapidfire_cli.engine.local.heartbeat import blank
from rapidfire_cli.engine.messages import Assignment, Setup
from rapidfire_cli.terms import Split
from rapidfire_cli.training.data_link import (
    Answer,
    Begin,
    Close,
    Done,
    Failed,
    Link,
    Open,
    Opened,
    Page,
    Refused,
    Task,
)
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.shared_batches import Placed, read

EACH: Final = 2  # batches ahead per data worker, if `prefetch` is not set (as in torch's DataLoader)
EARLY: Final = (
    4  # times `ahead`: batches that may be ready for all runs together, at an epoch's end (assumed)
)
STANDARD = (1, 2)  # the descriptors of stdout and stderr
OTHER_ROWS: Final = "load_data returns other rows in another process"
_START = """\
import sys
if {place!r} not in sys.path:
    sys.path.append({place!r})
from rapidfire_cli.training.data_worker import main
main()
""".format(place=str(Path(rapidfire_cli.__file__).parents[1]))

Result: TypeAlias = Any | Failure


class Unusable(Exception):  # noqa: N818 - what was found
    """Data workers cannot prepare the rows of a run; the reason is one line."""


@dataclass(slots=True, eq=False)
class DataWorker:
    """The worker's record of one data worker: its process, its link and its tasks."""

    process: subprocess.Popen[bytes]
    link: Link
    page: Page
    tasks: dict[int, Task] = field(default_factory=dict)  # sent and not answered, in order
    runs: set[int] = field(default_factory=set)  # keys of the runs that it was asked to open
    segments: dict[int, mmap.mmap] = field(default_factory=dict)
    read: deque[int] = field(default_factory=deque)  # segments whose batches were read


class DataPool:
    """The data workers of one worker, which prepare up to `ahead` batches of each feed."""

    def __init__(self, setup: Setup) -> None:
        """Record this process's environment for the data workers; they are started later."""
        self._setup = setup
        self.ahead = setup.prefetch or EACH * setup.data_workers
        self._count = min(setup.data_workers, self.ahead)
        self._path = tuple(sys.path)
        self._home, self._environment = Path.cwd(), dict(os.environ)
        self._output = [os.dup(each) for each in STANDARD]  # a turn redirects them to the run's log
        self._workers: list[DataWorker] = []
        self._runs: dict[int, Open] = {}
        self._answers: dict[int, list[Opened | Refused | Failure]] = {}
        self._results: dict[int, Result] = {}
        self._forgotten: set[int] = set()
        self._keys, self._numbers = count(1), count(1)

    @property
    def room(self) -> int:
        """How many batches may still be started early, over all runs: ready batches take memory."""
        return EARLY * self.ahead - len(self._results)

    def open(self, assignment: Assignment, splits: Iterable[Split]) -> tuple[int, Opened]:
        """Open the run in all data workers; return its key, and what the rows of `splits` depend on there.

        Raises Unusable if a data worker cannot open the run, and Failure if one died while opening it.
        """
        key = next(self._keys)
        self._runs[key] = Open(key, assignment, tuple(splits))
        self._answers[key] = []
        try:
            while len(self._answers[key]) < self._count:
                for worker in self._all():  # one that had ended is noticed only here, and replaced
                    self._introduce(worker, key)
                self._listen()
            answers = self._answers.pop(key)
        except OSError as error:
            self._answers.pop(key, None)
            raise Unusable(f"they cannot be started: {error}") from error
        opened = [answer for answer in answers if isinstance(answer, Opened)]
        if len(opened) == len(answers) and all(each == opened[0] for each in opened):
            return key, opened[0]
        self.close(key)
        for answer in answers:
            if isinstance(answer, Failure):
                raise answer
            if isinstance(answer, Refused):
                raise Unusable(answer.reason)
        raise Unusable(OTHER_ROWS)

    def close(self, key: int) -> None:
        """Close the run in all data workers and drop its batches."""
        self._runs.pop(key, None)
        self.forget(
            [task for worker in self._workers for task, its in worker.tasks.items() if its.key == key]
        )
        for worker in self._workers:
            if key in worker.runs:
                worker.runs.discard(key)
                self._send(worker, Close(key))

    def submit(self, key: int, split: Split, epoch: int, batch: int, rows: Tensor) -> int:
        """Submit a batch for preparation and return the number of its task."""
        task = Task(next(self._numbers), key, split, epoch, batch, tuple(rows.tolist()))
        self._give(task)
        return task.number

    def take(self, task: int) -> Any:
        """Wait for the batch of a task and return it. Raises Failure."""
        while task not in self._results:
            self._listen()
        result = self._results.pop(task)
        if isinstance(result, Failure):
            raise result
        return result

    def forget(self, tasks: Iterable[int]) -> None:
        """Drop the results of these tasks, which will not be taken."""
        under_way = {task for worker in self._workers for task in worker.tasks}
        for task in tasks:
            self._results.pop(task, None)
            if task in under_way:
                self._forgotten.add(task)

    def stop(self) -> None:
        """End all data workers."""
        for worker in self._workers:
            worker.link.close()
            worker.process.kill()
            worker.process.wait()
        self._workers.clear()
        for descriptor in self._output:
            os.close(descriptor)
        self._output.clear()

    def _all(self) -> list[DataWorker]:
        """Return all data workers; start the missing ones."""
        while len(self._workers) < self._count:
            self._workers.append(self._start())
        return self._workers

    def _start(self) -> DataWorker:
        ours, theirs = socket.socketpair()
        page = blank()
        Page(page).note(Page.STARTING)
        command = [sys.executable, "-P", "-c", _START, f"{theirs.fileno()}", f"{page}", f"{os.getpid()}"]
        out, err = self._output
        process = subprocess.Popen(
            command,
            cwd=self._home,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=(theirs.fileno(), page),
        )
        theirs.close()
        worker = DataWorker(process, Link(ours), Page(page))
        os.close(page)
        self._send(worker, Begin(self._setup, self._path))
        return worker

    def _introduce(self, worker: DataWorker, key: int) -> None:
        if key not in worker.runs:
            worker.runs.add(key)
            self._send(worker, self._runs[key])

    def _give(self, task: Task) -> None:
        worker = min(self._all(), key=lambda each: len(each.tasks))
        self._introduce(worker, task.key)
        worker.tasks[task.number] = task
        read = tuple(worker.read.popleft() for _ in [*worker.read])
        self._send(worker, replace(task, read=read) if read else task)

    def _send(self, worker: DataWorker, message: Any) -> None:
        try:
            worker.link.send(message)
        except OSError:  # it has ended; `_listen` reads what it sent before
            return

    def _listen(self) -> None:
        """Wait until a data worker answers or ends, and process that."""
        poll = select.poll()
        by_descriptor = {worker.link.fileno(): worker for worker in self._workers}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll():
            worker = by_descriptor[descriptor]
            try:
                for answer in worker.link.receive():
                    self._note(worker, answer)
            except OSError:
                self._replace(worker)

    def _note(self, worker: DataWorker, answer: Answer) -> None:
        match answer:
            case Opened() | Refused():
                if answer.key in self._answers:
                    self._answers[answer.key].append(answer)
                elif isinstance(answer, Refused):  # by the successor of one that ended
                    self._fail(worker, answer.key, Failure("error", answer.reason))
            case Done():
                del worker.tasks[answer.task]
                self._settle(answer.task, _batch(worker, answer.placed))
            case Failed():
                del worker.tasks[answer.task]
                self._settle(answer.task, Failure(answer.kind, answer.cause, answer.traceback))
            case _:
                assert_never(answer)

    def _settle(self, task: int, result: Result) -> None:
        if task in self._forgotten:
            self._forgotten.remove(task)
        else:
            self._results[task] = result

    def _fail(self, worker: DataWorker, key: int, failure: Failure) -> None:
        """Fail all tasks of a run on this data worker."""
        for task in [task for task in worker.tasks.values() if task.key == key]:
            del worker.tasks[task.number]
            self._settle(task.number, failure)

    def _replace(self, worker: DataWorker) -> None:
        """Handle the end of a data worker: fail the task it was processing, and reassign the others."""
        self._workers.remove(worker)
        worker.link.close()
        worker.process.kill()  # it may be alive with a closed socket
        ended = _spelt(worker.process.wait())
        at, row = worker.page.read()
        if blamed := worker.tasks.pop(at, None):
            where = f"row {row} of `{blamed.split}`" if row >= 0 else f"a batch of `{blamed.split}`"
            cause = f"{where}: the data worker that prepared it {ended}"
            self._settle(at, Failure("error", cause))
        elif at == Page.OPENING:
            cause = f"a data worker {ended} while it loaded the data or called initialize_run"
            self._blame_opening(worker, Failure("error", cause))
        elif at == Page.STARTING:
            self._blame_opening(worker, Refused(0, f"a data worker {ended} while it started"))
        for task in worker.tasks.values():
            if task.number in self._forgotten or task.key not in self._runs:
                self._forgotten.discard(task.number)
            else:
                self._give(task)

    def _blame_opening(self, worker: DataWorker, answer: Refused | Failure) -> None:
        """Answer for a data worker that ended while opening runs. No retry: a new one would end as well."""
        for key in [key for key in self._answers if key in worker.runs]:
            self._answers[key] += [answer] * self._count
        failure = answer if isinstance(answer, Failure) else Failure("error", answer.reason)
        for key in {task.key for task in worker.tasks.values()}:
            self._fail(worker, key, failure)


class Feed:
    """The rest of an epoch as batches that are prepared ahead."""

    def __init__(
        self, pool: DataPool, key: int, split: Split, rows: Tensor, size: int, epoch: int, first: int
    ) -> None:
        self._pool = pool
        self._key = key
        self.split = split
        self._size = size
        self.epoch = epoch
        self.then: Callable[[Feed], None] = _nothing  # called when all rows left have been submitted
        self.left = rows  # not yet taken by training
        self._batch = first  # the number of the first batch left
        self._given = 0  # how many of the rows left have been submitted
        self._tasks: deque[int] = deque()

    @property
    def under_way(self) -> int:
        """The number of batches that are in preparation or ready."""
        return len(self._tasks)

    def continues(self, rows: Tensor, size: int, epoch: int, first: int) -> bool:
        """Whether the batches left in this feed are exactly these."""
        same = (self._size, self.epoch, self._batch) == (size, epoch, first)
        return same and self.left.equal(rows)

    def __iter__(self) -> Iterator[Any]:
        while len(self.left):
            yield self._next()

    def close(self) -> None:
        """Drop all batches that are left."""
        self._pool.forget(self._tasks)
        self._tasks.clear()
        self.left = self.left[:0]

    def _next(self) -> Any:
        self._fill()
        batch = self._pool.take(self._tasks[0])
        self._tasks.popleft()
        self.left = self.left[self._size :]
        self._given -= self._size
        self._batch += 1
        self._fill()
        return batch

    def _fill(self) -> None:
        self.fill(self._pool.ahead)
        if self._given >= len(self.left) and self.under_way < self._pool.ahead:
            self.then(self)

    def fill(self, most: int) -> None:
        """Submit batches until `most` are in preparation or ready."""
        while len(self._tasks) < most and self._given < len(self.left):
            rows = self.left[self._given : self._given + self._size]
            number = self._batch + len(self._tasks)
            task = self._pool.submit(self._key, self.split, self.epoch, number, rows)
            self._tasks.append(task)
            self._given += self._size


def _nothing(feed: Feed) -> None:
    """Do nothing when a feed has submitted everything."""


def _batch(worker: DataWorker, placed: Placed) -> Any:
    """The batch that a data worker has placed; once nothing refers to it, its segment is free."""
    if placed.descriptor is not None:
        descriptor = worker.link.descriptor()
        worker.segments[placed.segment] = mmap.mmap(descriptor, placed.size)
        os.close(descriptor)
    for dropped in placed.dropped:
        del worker.segments[dropped]
    segment = np.frombuffer(worker.segments[placed.segment], np.uint8)
    weakref.finalize(segment, worker.read.append, placed.segment).atexit = False
    return read(segment, placed.spans)


def _spelt(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
