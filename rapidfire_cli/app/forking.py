"""The populations of a fit: forks are born as soon as the weights that they begin with are durable.

Theory of operation
-------------------
The policy of a population decides when its round is over, and then has vacancies, which `ready` fills in
order: it makes each fork of a run whose checkpoint of the round's end is durable, and puts that checkpoint
into the fork's directory before the fork is listed. What a fork is follows from the decision and the file. So
a fit that is killed anywhere makes the same forks, and none twice: the policy counts those that have joined.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rapidfire_cli.app.control.cloning import EpochEnd, epoch_ends
from rapidfire_cli.app.control.trash import directory_of
from rapidfire_cli.control.standing import Standing
from rapidfire_cli.durable import publication
from rapidfire_cli.engine.checkpoints import KEPT, ORIGIN, STATE
from rapidfire_cli.engine.jobs import Bracket
from rapidfire_cli.search.forking import NamedPopulation, fork, populations, sources
from rapidfire_cli.stopping.rule import ForkingPolicy, Vacancy
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import UNFINISHED, Clone, Run


class Forks:
    """The forks of the populations whose brackets, by group, are at work."""

    def __init__(
        self,
        home: ExperimentDir,
        file: ExperimentFile,
        runs: Iterable[Run],
        brackets: Iterable[tuple[int, Bracket]],
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
            for vacancy in policy.vacancies:
                if (born := self._born(each, vacancy, free + len(found))) is None:
                    break
                self._homes[born.number] = bracket
                found.append(born)
        return found

    def _born(self, each: NamedPopulation, vacancy: Vacancy, number: int) -> Run | None:
        """The fork that takes the place, with its weights; None while they can still become durable.

        When nobody's weights are left, the fork begins without and fails.
        """
        asked = sources(each, self._file.seed, vacancy)
        for run, epoch in asked:
            source = self._runs[run]
            if end := self._epoch_end(source, epoch):
                born = fork(self._file, each, vacancy, source, epoch, number)
                publication.twin(end.path, self._home.run(born) / ORIGIN)
                return born
            if self._may_come(run):
                return None
        run, epoch = asked[0]
        return fork(self._file, each, vacancy, self._runs[run], epoch, number)

    def _may_come(self, run: int) -> bool:
        return run in self.standings and self.standings[run].state in UNFINISHED

    def _epoch_end(self, source: Run, epoch: int) -> EpochEnd | None:
        """The checkpoint to begin with, if it is durable."""
        directory = directory_of(self._home, source)
        if not _has_kept(directory, epoch):
            return None  # asked ten times a second: look no closer
        found = epoch_ends(directory).get(epoch)
        return found if found and (found.path / STATE).is_file() else None


def _has_kept(directory: Path, epoch: int) -> bool:
    kept = directory / KEPT
    return kept.is_dir() and any(path.name.endswith(f"-epoch-{epoch:06d}") for path in kept.iterdir())


def rounds(file: ExperimentFile) -> Mapping[int, tuple[int, int]]:
    """Of each population, by group: the epochs of a round, and those of every run with its fork's."""
    return {each.group: (each.training.perturb_every, each.training.epochs) for each in populations(file)}


def kept_rounds(run: Run, rounds: Mapping[int, tuple[int, int]]) -> Iterator[int]:
    """The epochs of a member of a population after which forks may be made of it."""
    if run.group in rounds and not isinstance(run.origin, Clone):
        every, epochs = rounds[run.group]
        offset = epochs - run.leaf["train"]["epochs"]
        yield from (at - offset for at in range(every, epochs, every) if at > offset)
