"""What a fit trains: the runs that its file asks for, and how far each has come.

The file's own runs are followed by those that were born while earlier fits trained: proposals of searches,
forks of populations, and runs that took the place of one that ran out of memory.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from rapidfire_cli.app.admission import assignment
from rapidfire_cli.app.brackets import Membership, first_rule, memberships, remaining
from rapidfire_cli.app.ci import Shard, check_shards
from rapidfire_cli.app.experiments import NAME, LoadedExperiment
from rapidfire_cli.app.forking import KeptEpochs
from rapidfire_cli.app.searching import check_sampler
from rapidfire_cli.durable.publication import Damaged, claimed
from rapidfire_cli.engine.checkpoints import ORIGIN, from_facts, newest_first
from rapidfire_cli.engine.jobs import Job
from rapidfire_cli.engine.messages import Assignment
from rapidfire_cli.manifest.numbering import number, successors
from rapidfire_cli.manifest.representatives import Representatives, representatives
from rapidfire_cli.problems import Problem, Refusal, Span
from rapidfire_cli.search.forking import known_forks
from rapidfire_cli.search.proposing import continued, still_proposing
from rapidfire_cli.store.connection import REPAIR
from rapidfire_cli.store.history import Past, history
from rapidfire_cli.store.known_runs import KnownRun, known_runs, source_of
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.source import Source, check_source
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import Run


@dataclass(frozen=True, slots=True)
class Plan:
    """The runs to train, with their numbers, and the progress of known ones."""

    loaded: LoadedExperiment
    runs: tuple[Run, ...]  # with those that took the place of one
    free: int  # the first unused run number
    stood: Mapping[int, KnownRun]  # by number
    members: tuple[Membership, ...]  # the brackets of early stopping
    past: tuple[Past, ...]  # the recorded results and decisions of brackets
    left: tuple[Run, ...]  # to train; failed runs are tried again
    source: Source | None  # the file that the directory belongs to from now on
    outline: Representatives  # of the runs
    kept: KeptEpochs  # that other runs begin with
    proposing: Collection[int]  # groups whose searches have runs left to propose

    @property
    def alone(self) -> list[Run]:
        """The new runs that no early-stopping rule compares with others."""
        compared = {run.number for member in self.members for run in member.runs}
        return [run for run in self.left if run.number not in self.stood and run.number not in compared]

    @property
    def resumed(self) -> tuple[Assignment, ...]:
        """The runs for which there is a checkpoint to go on from, or to begin with."""
        return tuple(self.job(run).assignment for run in self.left if self._continues(run))

    @property
    def opened(self) -> Mapping[int, KnownRun]:
        """The known runs with what they were last trained with, or what their warm start was trained with."""
        found = {**self.stood}
        for run in (each for each in self.left if each.warm_start and each.number in found):
            origin = self.loaded.home.run(run) / ORIGIN
            if found[run.number].opened is None and origin.is_dir():
                with suppress(Damaged, KeyError, TypeError, ValueError):  # the run itself will fail
                    opened = from_facts(claimed(origin).facts).opened
                    found[run.number] = replace(found[run.number], opened=opened)
        return found

    def job(self, run: Run) -> Job:
        """The run as the driver trains it, from where it stands."""
        asked = assignment(self.loaded.home, run, self.kept.of(run))
        goal = self.outline.epochs[run.number] * self.loaded.file.execution.chunks
        known, gang = self.stood.get(run.number), self.outline.gangs.get(run.number, 1)
        return Job(asked, goal, known.durable, known.epoch, gang) if known else Job(asked, goal, gang=gang)

    def _continues(self, run: Run) -> bool:
        place = self.loaded.home.run(run)
        begins = bool(run.warm_start) and (place / ORIGIN).is_dir()
        return run.number in self.stood and (bool(newest_first(place)) or begins)


def planned(loaded: LoadedExperiment, shard: Shard | None) -> Plan:
    """The plan of a fit that trains the whole file, or a shard of it. Raises Refusal."""
    check_sampler(loaded.file)
    if shard:
        check_shards(loaded.file)
    known = known_runs(loaded.home.journal, loaded.file.execution.chunks)
    if not known:
        _check_for_lost(loaded.home)
    was = source_of(loaded.home.journal)
    check_source(loaded.home, was, loaded.source, _named_at(loaded.file))
    ever = [one.run for one in known]
    whole = number(loaded.runs, ever).listed
    asked = shard.of(whole) if shard else whole
    proposals = (*continued(loaded.file, ever), *known_forks(loaded.file, ever))
    later = successors((*asked, *proposals), ever)
    runs = (*asked, *proposals, *later)
    free = 1 + max((run.number for run in (*whole, *ever)), default=0)
    stood = {one.run.number: one for one in known}
    past = history(loaded.home.journal) if first_rule(loaded.file) else ()
    proposing = still_proposing(loaded.file, proposals)
    members = memberships(
        loaded.file, (*whole, *proposals), (*asked, *proposals), stood, past, later, proposing
    )
    left = remaining(runs, stood, members, past)
    source = loaded.source or was
    outline, kept = representatives(runs), KeptEpochs(loaded.file, runs)
    return Plan(loaded, runs, free, stood, members, past, left, source, outline, kept, proposing)


def _named_at(file: ExperimentFile) -> Span:
    """Where the experiment's name is written; else the file as a whole."""
    return file.origins.get(NAME) or Span(file.origins[()].file, 0, 0)


def _check_for_lost(home: ExperimentDir) -> None:
    """Raises Refusal if there are checkpoints but no journal."""
    if any(map(newest_first, home.runs.glob("*"))):
        message = f"{home.journal} is missing, but runs have checkpoints"
        hint = f"{REPAIR}, or use `--fresh` to start over"
        raise Refusal([Problem("E607", message, hint=hint)])
