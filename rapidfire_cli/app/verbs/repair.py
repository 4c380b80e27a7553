"""`repair`: rebuild the journal from the checkpoints' manifests; the old file is kept."""

import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path

from rapidfire_cli.app.brackets import Membership, changes, memberships
from rapidfire_cli.app.control.offline import catch_up
from rapidfire_cli.app.control.trash import directory_of
from rapidfire_cli.app.described import metadata_of
from rapidfire_cli.app.files import read, reload
from rapidfire_cli.app.holding import held
from rapidfire_cli.durable import disk, failpoints, publication
from rapidfire_cli.durable.publication import Damaged, Published
from rapidfire_cli.engine.checkpoints import (
    FINAL,
    MODEL,
    Reached,
    epochs_of,
    from_facts,
    newest_first,
    weights_in,
)
from rapidfire_cli.engine.epoch_log import NAME
from rapidfire_cli.facts import EpochEnded, Fact, RunChanged, RunJoined, RunReplaced, Saved
from rapidfire_cli.manifest import codec
from rapidfire_cli.manifest.representatives import Representatives, representatives
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.store.connection import SUFFIXES
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.layout import ExperimentDir, find, parent_directory
from rapidfire_cli.store.queries import overview
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import Fork, Proposal, Run, RunState
from rapidfire_cli.view.wording import counted


def repair(experiment: str | None, parent: str | None) -> int:
    """Rebuild the journal of an experiment if it is damaged or missing; return the exit code."""
    failpoints.arm(os.environ)
    home = find(parent_directory(parent), experiment, lambda path: reload(path).name)
    with held(home):
        if _is_sound(home.journal):
            print(f"{home.journal} is intact: nothing to repair", file=sys.stderr)
            return 0
        file, runs = _manifest(home)
        outline = representatives(runs)
        facts, found = _facts(home, runs, outline.epochs)
        made = _rebuilt(home, file, runs, outline, facts)
        old = _replace(home.journal, made)
        catch_up(home)
    print(f"rebuilt {home.journal} from the checkpoints of {counted(found, 'run')}{old}", file=sys.stderr)
    return 0


def _is_sound(journal: Path) -> bool:
    """Whether the journal exists and is undamaged."""
    try:
        overview(journal, alive=False)
        with closing(sqlite3.connect(f"{journal.absolute().as_uri()}?mode=ro", uri=True)) as db:
            found: str = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except Refusal as refusal:
        if any(problem.code == "E603" for problem in refusal.problems):
            raise
        return False
    except (sqlite3.DatabaseError, ValueError, KeyError):  # damage can also look like this
        return False
    return found == "ok"


def _manifest(home: ExperimentDir) -> tuple[ExperimentFile, tuple[Run, ...]]:
    """Read the experiment and its numbered runs from the manifest. Raises Refusal."""
    if not home.manifest.is_file():
        message = f"{home.manifest}, which lists the runs, is missing too"
        hint = "write it with `rapidfire expand FILE --output jsonl --header`, if FILE is what was trained"
        raise Refusal([Problem("E608", message, hint=hint)])
    text = read(home.manifest, home.manifest.stat().st_size).decode(errors="surrogateescape")
    return codec.read_whole(codec.without_torn_line(text), str(home.manifest))


def _facts(home: ExperimentDir, runs: Sequence[Run], epochs: Mapping[int, int]) -> tuple[list[Fact], int]:
    """The facts that the checkpoints prove, in a possible order, and the number of runs they are about."""
    directories = {run.number: directory_of(home, run) for run in runs}
    known = {run.number: found for run in runs if (found := _newest(directories[run.number]))}
    said = {number: from_facts(found.facts) for number, found in known.items()}
    ended = [one for number, reached in said.items() for one in _epochs(directories[number], reached)]
    facts: list[Fact] = [*sorted(ended, key=_when)]
    for run in runs:
        if run.number in known:
            reached = said[run.number]
            facts += [reached.opened] if reached.opened else []
            facts.append(Saved(run.number, reached.at, reached.step))
            whole = _is_whole(directories[run.number], reached, known[run.number], epochs[run.number])
            facts.append(RunChanged(run.number, RunState.COMPLETED if whole else RunState.INTERRUPTED))
    return facts, len(known)


def _epochs(directory: Path, reached: Reached) -> tuple[EpochEnded, ...]:
    """The run's epochs; warn if some are lost."""
    epochs = epochs_of(directory, reached)
    if epochs is None:
        print(
            f"warning: the first {reached.logged.epochs} epochs of {directory.name} are lost: "
            f"{NAME} is missing or damaged",
            file=sys.stderr,
        )
    return reached.history if epochs is None else epochs


def _when(ended: EpochEnded) -> tuple[int, int]:
    return ended.epoch, ended.run


def _newest(directory: Path) -> Published | None:
    """The newest undamaged checkpoint; warn about damaged ones."""
    for path in newest_first(directory):
        try:
            return publication.verify(path)
        except Damaged as damage:
            print(
                f"warning: skipped a damaged checkpoint of {directory.name}: {damage}",
                file=sys.stderr,
            )
    return None


def _is_whole(directory: Path, reached: Reached, published: Published, epochs: int) -> bool:
    """Whether the run has its final weights; those of its last checkpoint are the same file, or equal it."""
    final, last = weights_in(directory, FINAL), weights_in(published.path, MODEL)
    if final is None or last is None or reached.epoch < epochs:
        return False
    return publication.equal(final, published, last.name)


def _rebuilt(
    home: ExperimentDir,
    file: ExperimentFile,
    runs: Sequence[Run],
    outline: Representatives,
    facts: Sequence[Fact],
) -> Path:
    """A new journal, under a temporary name."""
    made = publication.aside(home.journal)
    for path in _files(made):
        disk.unlink(path)
    journal = SqliteJournal(made)
    journal.enroll(metadata_of(file, outline), runs, [outline.epochs[run.number] for run in runs])
    listed = [run for run in runs if run.origin is None]
    members = memberships(file, listed, listed, {}, ())
    homes = {member.group: member.number for member in members}
    joined = [
        RunJoined(run.number, homes[run.group], outline.epochs[run.number])
        for run in runs
        if isinstance(run.origin, Proposal | Fork) and run.group in homes
    ]
    replaced = list(_replacements(members, joined, runs))  # before the results of their brackets
    lost = [RunChanged(each.run, RunState.FAILED, _cause(each.by)) for each in replaced]
    over = {each.run for each in facts if isinstance(each, RunChanged) and each.state is RunState.COMPLETED}
    forked = {run.origin.instead for run in runs if isinstance(run.origin, Fork)} - over
    lost += [RunChanged(run, RunState.PRUNED) for run in sorted(forked)]
    journal.record([*changes(members, {}, outline.epochs), *joined, *replaced, *facts, *lost])
    journal.close()
    return made


def _replacements(
    members: Sequence[Membership], joined: Iterable[RunJoined], runs: Sequence[Run]
) -> Iterator[RunReplaced]:
    """The replaced runs in the manifest."""
    brackets = {run.number: member.number for member in members for run in member.runs}
    brackets |= {each.run: each.bracket for each in joined}
    for by in runs:
        if by.replaces is not None:
            bracket = brackets.get(by.replaces)
            yield RunReplaced(by.replaces, by, bracket)
            if bracket is not None and not by.is_apart:
                brackets[by.number] = bracket


def _cause(by: Run) -> str:
    return f"out of memory; replaced by run {by.number}"


def _replace(journal: Path, made: Path) -> str:
    """Replace the old journal by the new one; return a text that names the old file."""
    places = (journal.with_name(f"{journal.name}~{place}") for place in count(1))
    old = next(path for path in places if not any(map(os.path.lexists, _files(path))))
    kept = [
        (path, aside)
        for path, aside in zip(_files(journal), _files(old), strict=True)
        if os.path.lexists(path)
    ]
    for path, aside in kept:
        disk.rename(path, aside)
    disk.rename(made, journal)
    disk.sync(journal.parent)
    return f"; the old file is {old.name}" if kept else ""


def _files(journal: Path) -> Iterator[Path]:
    """The files that a journal is made of."""
    return (journal.with_name(f"{journal.name}{suffix}") for suffix in SUFFIXES)
