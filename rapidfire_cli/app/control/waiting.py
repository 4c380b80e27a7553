"""Runs that wait for the weights that they begin with, while the run that makes them trains."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rapidfire_cli.app.control.cloning import EpochEnd, epoch_ends
from rapidfire_cli.app.control.trash import directory_of
from rapidfire_cli.control.standing import Standing
from rapidfire_cli.durable import publication
from rapidfire_cli.engine.checkpoints import KEPT, ORIGIN, newest_first
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import UNFINISHED, Fork, Run, RunState

WANTED = frozenset({RunState.QUEUED, RunState.INTERRUPTED})


class Waiting:
    """The runs to train whose weights to begin with are not in their directories yet."""

    def __init__(self, home: ExperimentDir, runs: Sequence[Run], left: Sequence[Run]) -> None:
        self.standings: Mapping[int, Standing] = {}  # where runs are by now
        self._home = home
        self._by_id = {run.id: run for run in runs}
        self._trained = {run.number for run in left}
        self.runs = {
            run.number: run
            for run in left
            if run.warm_start
            and not isinstance(run.origin, Fork)
            and not (home.run(run) / ORIGIN).is_dir()
            and not newest_first(home.run(run))
        }

    @property
    def is_open(self) -> bool:
        """Whether one of them may begin yet."""
        return any(map(self._may_begin, self.runs.values()))

    def ready(self) -> Sequence[Run]:
        """The runs that can begin now, each once. Raises OSError when the disk refuses."""
        found = [run for run in self.runs.values() if self._is_wanted(run) and self._has_begun_with(run)]
        for run in found:
            del self.runs[run.number]
        return found

    def unbegun(self) -> Iterator[str]:
        """A line for each run that is wanted and could not begin."""
        for run in filter(self._is_wanted, self.runs.values()):
            source = self._source(run)
            of = f"run {source.number}" if source else "a run that is not listed"
            epoch = run.warm_start.epoch if run.warm_start else 0
            yield f"run {run.number} waits for the weights of epoch {epoch} of {of}"

    def _is_wanted(self, run: Run) -> bool:
        return run.number in self.standings and self.standings[run.number].state in WANTED

    def _may_begin(self, run: Run) -> bool:
        """Whether the run is wanted, and the weights are there or can still come."""
        source = self._source(run)
        if source is None or not self._is_wanted(run):
            return False
        if source.number in self.runs:
            return self._may_begin(source)
        standing = self.standings.get(source.number)
        trains = source.number in self._trained and standing and standing.state in UNFINISHED
        return bool(trains) or self._epoch_end(run, source) is not None

    def _has_begun_with(self, run: Run) -> bool:
        """Whether the weights are durable; then they are put into the run's directory."""
        source = self._source(run)
        if source is None or (found := self._epoch_end(run, source)) is None:
            return False
        publication.twin(found.path, self._home.run(run) / ORIGIN)
        return True

    def _source(self, run: Run) -> Run | None:
        return self._by_id.get(run.warm_start.run) if run.warm_start else None

    def _epoch_end(self, run: Run, source: Run) -> EpochEnd | None:
        """The checkpoint that the run begins with; of a run that trains only one that is kept."""
        assert run.warm_start
        directory = directory_of(self._home, source)
        standing = self.standings.get(source.number)
        if standing and standing.state is RunState.RUNNING and not (directory / KEPT).is_dir():
            return None  # asked ten times a second: look no closer
        return epoch_ends(directory).get(run.warm_start.epoch)


def kept_epochs(runs: Iterable[Run]) -> Mapping[str, tuple[int, ...]]:
    """The epochs whose weights other runs begin with, by the id of the run that makes them."""
    found: dict[str, set[int]] = {}
    for start in (run.warm_start for run in runs):
        if start:
            found.setdefault(start.run, set()).add(start.epoch)
    return {run: tuple(sorted(epochs)) for run, epochs in found.items()}
