"""The populations of a fit: forks are born as soon as the weights that they begin with are durable.

Theory of operation
-------------------
The policy of a population decides when a round is over or, without rounds, when a run has trained its
interval. Then it has vacancies, which `ready` fills in order: it makes each fork of a run whose checkpoint of
that epoch is durable, and puts that checkpoint into the fork's directory before the fork is listed. What a
fork is follows from the decision and the file, and the decision is in the journal before the fork is listed.
So a fit that is killed anywhere makes the same forks, and none twice: the policy counts those that have
joined.

Every member keeps the checkpoint of each end of a round or interval, since it may train on before a fork is
made of it. Once a decision is durable, those are deleted of which no fork will be made.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rapidfire_cli.app.control.cloning import EpochEnd, epoch_ends
from rapidfire_cli.app.control.trash import directory_of
from rapidfire_cli.app.control.waiting import kept_epochs
from rapidfire_cli.control.standing import Standing
from rapidfire_cli.durable import publication
from rapidfire_cli.engine.checkpoints import KEPT, ORIGIN, STATE, newest_first
from rapidfire_cli.engine.jobs import Bracket
from rapidfire_cli.search.forking import NamedPopulation, fork, populations, sources
from rapidfire_cli.stopping.rule import ForkingPolicy, Vacancy
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import UNFINISHED, Clone, Fork, Run


class Forks:
    """The forks of the populations whose brackets, by group, are at work."""

    def __init__(
        self,
        home: ExperimentDir,
        file: ExperimentFile,
        runs: Iterable[Run],
        brackets: Iterable[tuple[int, Bracket]],
        kept: "KeptEpochs",
    ) -> None:
        self.standings: Mapping[int, Standing] = {}  # where runs are by now
        self._home = home
        self._file = file
        self._runs = {run.number: run for run in runs}
        named = {each.group: each for each in populations(file)}
        self._brackets = [
            (bracket.number, bracket.policy, named[group])
            for group, bracket in brackets
            if isinstance(bracket.policy, ForkingPolicy)
        ]
        self._homes: dict[int, int] = {}  # the bracket of each fork that is ready
        self.kept = kept  # what runs that are born keep, too
        self._decided: dict[int, int] = {}  # by bracket: the decisions after which ends were deleted
        self.kept_by_request: Callable[[], Collection[int]] = tuple  # runs of which epoch ends stay

    @property
    def is_open(self) -> bool:
        """Whether a fork is about to be born; later ones follow from the training of runs."""
        return any(policy.vacancies for _, policy, _ in self._brackets)

    def learn(self, run: Run) -> None:
        """Take in that a run was admitted."""
        self._runs[run.number] = run

    def bracket_of(self, run: Run) -> int:
        """The bracket that the fork joins."""
        return self._homes[run.number]

    def ready(self, free: int) -> Sequence[Run]:
        """The forks that can be born now, with numbers from `free` on. Raises OSError."""
        found: list[Run] = []
        for bracket, policy, each in self._brackets:
            waits: set[int] = set()  # epochs at which a fork is not ready, so that later ones wait for it
            for vacancy in policy.vacancies:
                if vacancy.epochs in waits:
                    continue
                if (born := self._born(each, vacancy, free + len(found))) is None:
                    waits.add(vacancy.epochs)
                    continue
                self._homes[born.number] = bracket
                found.append(born)
        return found

    def forget(self) -> None:
        """Delete checkpoints of which no fork will be made: every decision is durable. Raises OSError."""
        for bracket, policy, each in self._brackets:
            if policy.decided > self._decided.get(bracket, 0):
                self._decided[bracket] = policy.decided
                self._forget(each, policy)

    def _born(self, each: NamedPopulation, vacancy: Vacancy, number: int) -> Run | None:
        """The fork that takes the place, with its weights; None while they can still become durable.

        If none of the runs to fork has its weights left, the fork is admitted without weights, and fails.
        """
        asked = [
            (fork(self._file, each, vacancy, self._runs[run], epoch, number), self._runs[run], epoch)
            for run, epoch in sources(each, self._file.seed, vacancy)
        ]
        for born, source, epoch in asked:
            place = self._home.run(born)
            if (place / ORIGIN).is_dir() or newest_first(place):  # before this fit was killed
                return born
            if end := self._epoch_end(source, epoch):
                publication.twin(end.path, place / ORIGIN)
                return born
            if self._may_come(source.number):
                return None
        return asked[0][0]

    def _forget(self, each: NamedPopulation, policy: ForkingPolicy) -> None:
        kept = self.kept_by_request()
        for run in [run for run in self._runs.values() if run.group == each.group and run.number not in kept]:
            outdated = {epoch for epoch in self.kept.by_rounds(run) if not policy.may_fork(run.number, epoch)}
            for path in _kept_ends(directory_of(self._home, run)):
                if int(path.name[-6:]) in outdated - {*self.kept.by_file(run)}:
                    publication.remove(path)

    def _may_come(self, run: int) -> bool:
        return run in self.standings and self.standings[run].state in UNFINISHED

    def _epoch_end(self, source: Run, epoch: int) -> EpochEnd | None:
        """The checkpoint to begin with, if it is durable."""
        directory = directory_of(self._home, source)
        if not any(path.name.endswith(f"-epoch-{epoch:06d}") for path in _kept_ends(directory)):
            return None  # asked ten times a second: look no closer
        found = epoch_ends(directory).get(epoch)
        return found if found and (found.path / STATE).is_file() else None


def _kept_ends(directory: Path) -> list[Path]:
    return newest_first(directory / KEPT)


class KeptEpochs:
    """The epochs whose ends runs keep: for warm starts of the file, and for forks."""

    def __init__(self, file: ExperimentFile, runs: Iterable[Run]) -> None:
        self._by_id = kept_epochs(run for run in runs if not isinstance(run.origin, Fork))
        self._rounds = {
            each.group: (each.training.perturb_every, each.training.epochs) for each in populations(file)
        }

    def of(self, run: Run) -> tuple[int, ...]:
        """The epochs whose ends the run keeps."""
        return tuple(sorted({*self.by_file(run), *self.by_rounds(run)}))

    def by_file(self, run: Run) -> tuple[int, ...]:
        """Those that other runs begin with."""
        return self._by_id.get(run.id, ())

    def by_rounds(self, run: Run) -> Iterator[int]:
        """Those after which forks may be made of the run: ends of rounds, or of its intervals."""
        if run.group in self._rounds and not isinstance(run.origin, Clone):
            every, epochs = self._rounds[run.group]
            offset = epochs - run.leaf["train"]["epochs"]
            yield from (at - offset for at in range(every, epochs, every) if at > offset)
