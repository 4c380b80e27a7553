"""How runs come to be listed: those of the file when a `fit` begins, and those that are born during it."""

from collections.abc import Iterable, Sequence

from rapidfire_cli.app.control.waiting import Waiting
from rapidfire_cli.app.forking import Forks, KeptEpochs
from rapidfire_cli.app.searching import Searches
from rapidfire_cli.durable import publication
from rapidfire_cli.engine.checkpoints import ORIGIN
from rapidfire_cli.engine.messages import Assignment
from rapidfire_cli.engine.ports import NoRetry
from rapidfire_cli.manifest import codec
from rapidfire_cli.manifest.identity import identify
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import UNFINISHED, Fork, OomRetry, Proposal, Run

MOST = 20  # retries in a row: a batch of a million rows is one row then (assumed)


class FitAdmission:
    """Admits runs to the experiment in `home`; numbers from `free` on belong to no run.

    Sources are `on_oom`, a retry with a changed config for each run that runs out of memory, warm starts of
    the file, each admitted once the weights that it begins with are durable, and the searches and populations
    of the file.
    """

    def __init__(
        self,
        home: ExperimentDir,
        file: ExperimentFile,
        runs: Iterable[Run],
        free: int,
        waiting: Waiting | None = None,
        searches: Searches | None = None,
        forks: Forks | None = None,
    ) -> None:
        self._home = home
        self._file = file
        self._runs = {run.number: run for run in runs}
        self._free = free
        self._waiting = waiting
        self._searches = searches
        self._forks = forks
        self._kept = forks.kept if forks else KeptEpochs(file, ())

    @property
    def is_open(self) -> bool:
        """Whether a run waits for weights that may still come, or more runs are about to be born.

        A retry follows from a run that trains.
        """
        return any(source.is_open for source in (self._waiting, self._searches, self._forks) if source)

    def proposals(self) -> Sequence[Run]:
        """The runs whose weights to begin with are durable by now, forks, and a proposal of a search."""
        begun = self._waiting.ready() if self._waiting else ()
        waiting = self._waiting.runs if self._waiting else ()
        forks = self._forks.ready(self._free) if self._forks else ()
        free = self._free + len(forks)
        born = self._searches.ready(free, self._unfinished, waiting) if self._searches else None
        return (*begun, *forks, *([born] if born else ()))

    def committed(self) -> None:
        """Delete the checkpoints of which no fork will be made. Raises OSError."""
        if self._forks:
            self._forks.forget()

    def bracket_of(self, run: Run) -> int | None:
        """The bracket that the proposed run joins, if any."""
        if isinstance(run.origin, Fork) and self._forks:
            return self._forks.bracket_of(run)
        if isinstance(run.origin, Proposal) and self._searches:
            return self._searches.brackets.get(run.group)
        return None

    def retry(self, run: int) -> Run | NoRetry:
        """The run that would take this one's place after it ran out of memory."""
        on_oom, former = self._file.execution.on_oom, self._runs[run]
        if not on_oom:
            return NoRetry()
        if self._retried_before(former) >= MOST:
            return NoRetry(f"on_oom has already changed it {MOST} times")
        from rapidfire_cli.manifest.replacement import Exhausted, changed  # few files need it

        try:
            config = changed(former.config, on_oom)
        except Exhausted as limit:
            return NoRetry(f"on_oom cannot change it further: {limit}")
        warm = former.warm_start
        name = identify(self._file.mlspec, self._file.data, former.seed, former.replicate, warm)
        same = (former.group, config, former.seed, former.replicate)
        instead = Run(self._free, name(config), *same, OomRetry(run), warm)
        if warm:
            begins_with = self._home.run(former) / ORIGIN
            if not begins_with.is_dir():
                return NoRetry("its initial weights were deleted")
            publication.twin(begins_with, self._home.run(instead) / ORIGIN)
        return instead

    def admit(self, run: Run) -> Assignment:
        """List the run in the manifest; that is durable when this returns. Raises OSError."""
        if run.number not in self._runs:
            publication.append(self._home.manifest, codec.write(run))
            self._runs[run.number] = run
            self._free = run.number + 1
            if self._searches:
                self._searches.learn(run)
            if self._forks:
                self._forks.learn(run)
        return assignment(self._home, run, self._kept.of(run))

    def _unfinished(self) -> int:
        """How many runs can be trained, or are."""
        assert self._waiting
        standings = self._waiting.standings.items()
        return sum(one.state in UNFINISHED and run not in self._waiting.runs for run, one in standings)

    def _retried_before(self, run: Run) -> int:
        return 0 if run.replaces is None else 1 + self._retried_before(self._runs[run.replaces])


def assignment(home: ExperimentDir, run: Run, kept: tuple[int, ...] = ()) -> Assignment:
    """The run as a worker needs it; the ends of these epochs are `kept` for other runs."""
    return Assignment(run.number, run.config, run.seed, home.run_name(run), run.warm_start, kept)


def write_manifest(home: ExperimentDir, file: ExperimentFile, runs: Iterable[Run]) -> None:
    """List the runs of a `fit` as it begins, durably and at once."""
    publication.write(home.manifest, codec.header(file) + "".join(map(codec.write, runs)))
