"""A fit in a thread of its own, from Python, and the requests that steer it."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar, get_args

from rapidfire_cli.app.control.asking import new_request, send
from rapidfire_cli.app.control.clone_check import check_clones
from rapidfire_cli.durable.lock import is_held
from rapidfire_cli.engine.signals import StopSignal
from rapidfire_cli.requests import (
    SOURCE,
    Answer,
    Ask,
    CloneRun,
    Delete,
    Purge,
    Restore,
    Resume,
    Stop,
    Undo,
    Warm,
)
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import Plain, canonical

if TYPE_CHECKING:
    from rapidfire_cli.view.page.panel import Panel

Outcome = TypeVar("Outcome")
PAUSE = 0.02  # seconds between two looks at whether the fit has begun (assumed)


class BackgroundFit(Generic[Outcome]):
    """A fit that trains while the script goes on with its work.

    Every request is answered for each of its runs, as on the command line. A script that ends waits for its
    fits.
    """

    def __init__(
        self,
        home: ExperimentDir,
        work: Callable[[StopSignal], Outcome],
        look: Callable[[], Outcome],
        path: tuple[str, ...] = (),
    ) -> None:
        """Start the fit: `work` trains until it is done or stopped, `look` reads what is known by now.

        `path` is where the MLSpec's module is looked up beside the working directory.
        """
        self._home = home
        self._path = path
        self._look = look
        self._stop = StopSignal()
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), name="rapidfire fit")
        self._thread.start()

    @property
    def results(self) -> Outcome:
        """What the runs have reached by now. Raises Refusal before the first has begun."""
        return self._look()

    @property
    def is_done(self) -> bool:
        """Whether the fit has ended."""
        return not self._thread.is_alive()

    def wait(self, timeout: float | None = None) -> Outcome:
        """Wait until the fit has ended; its results. Raises what it raised, and TimeoutError.

        Ctrl-C interrupts the fit as it does in the foreground: what is trained is saved first.
        """
        try:
            self._thread.join(timeout)
        except KeyboardInterrupt:
            self.interrupt()
            raise
        if self._thread.is_alive():
            raise TimeoutError(f"the fit has not ended in {timeout:g} seconds")
        if self._error:
            raise self._error
        assert self._outcome is not None
        return self._outcome

    def interrupt(self) -> None:
        """End the fit once everything is saved; `run_fit` continues it."""
        self._stop.ask()
        self._thread.join()

    def stop(self, *runs: int, now: bool = False) -> tuple[Answer, ...]:
        """Stop runs at their next optimizer step, or `now`."""
        return self._ask(Stop(_numbers(runs), now))

    def resume(self, *runs: int) -> tuple[Answer, ...]:
        """Train stopped, pruned or failed runs on."""
        return self._ask(Resume(_numbers(runs)))

    def delete(self, *runs: int) -> tuple[Answer, ...]:
        """Move runs to the trash."""
        return self._ask(Delete(_numbers(runs)))

    def restore(self, *runs: int) -> tuple[Answer, ...]:
        """Bring deleted runs back."""
        return self._ask(Restore(_numbers(runs)))

    def purge(self, *runs: int) -> tuple[Answer, ...]:
        """Free the disk of deleted runs."""
        return self._ask(Purge(_numbers(runs)))

    def clone(  # noqa: PLR0913 - the options of the command line
        self,
        run: int,
        changes: dict[str, Plain] | None = None,
        *,
        warm_start: Warm | bool = False,
        source: str = "last",
        epochs: int | None = None,
        seed: int | None = None,
        replicate: bool = False,
        keep_schedule: bool = False,
    ) -> tuple[Answer, ...]:
        """Train a copy of the run; `changes` are values by knob: `{"train.optimizer.args.lr": 0.1}`.

        Raises Refusal with all that is wrong about the copy, as `rapidfire clone` says it.
        """
        sets = tuple(f"{knob}={canonical(value)}" for knob, value in (changes or {}).items())
        warm: Warm | None = "all" if warm_start is True else warm_start or None
        if warm not in (None, *get_args(Warm)):
            raise ValueError(f"warm_start must be True, False, 'all' or 'matching', not {warm!r}")
        if not SOURCE.fullmatch(source):
            raise ValueError(f"source must be 'last', 'best' or 'epoch:N', not {source!r}")
        ask = CloneRun(_numbers((run,)), sets, warm, source, epochs, seed, replicate, keep_schedule)
        self._await_fit()
        check_clones(self._home, ask, self._path)
        return self._ask(ask)

    def undo(self) -> tuple[Answer, ...]:
        """Revert the last request."""
        return self._ask(Undo())

    def panel(self, read_only: bool = False) -> "Panel":
        """The fit's page, live, as a widget for a notebook's cell. Raises Unavailable without [notebook]."""
        from rapidfire_cli.app.page import panel_of

        return panel_of(self._home, read_only, self._path)

    def _await_fit(self) -> None:
        while not (self.is_done or is_held(self._home.lock)):  # the fit is about to begin
            time.sleep(PAUSE)

    def _ask(self, ask: Ask) -> tuple[Answer, ...]:
        self._await_fit()
        return send(self._home, new_request(ask, "python")).answers

    def _run(self, work: Callable[[StopSignal], Outcome]) -> None:
        try:
            self._outcome = work(self._stop)
        except BaseException as error:
            self._error = error


def _numbers(runs: tuple[int, ...]) -> tuple[int, ...]:
    """The runs. Raises ValueError when there are none, or one is not a run's number."""
    if not runs:
        raise ValueError("name at least one run by its number")
    for run in runs:
        if type(run) is not int or run < 1:
            raise ValueError(f"{run!r} is not the number of a run")
    return runs
