"""`merge`: parts of an experiment that were trained apart, as shards are, become one experiment."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from rapidfire_cli.app.admission import write_manifest
from rapidfire_cli.app.control.offline import catch_up
from rapidfire_cli.app.control.trash import directory_of
from rapidfire_cli.app.files import reload
from rapidfire_cli.app.holding import held
from rapidfire_cli.durable import disk, failpoints, publication
from rapidfire_cli.engine.local.log_rotation import LOG
from rapidfire_cli.manifest import codec
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.store.connection import reader
from rapidfire_cli.store.known_runs import KnownRun, known_runs
from rapidfire_cli.store.layout import ExperimentDir, find, parent_directory
from rapidfire_cli.store.merging import Part
from rapidfire_cli.store.merging import merge as merge_journals
from rapidfire_cli.store.metadata import Metadata, read_metadata
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.syntax.printer import to_yaml
from rapidfire_cli.terms import Run, RunState
from rapidfire_cli.view.wording import counted


@dataclass(frozen=True, slots=True)
class Given:
    """One of the experiments to merge."""

    home: ExperimentDir
    file: ExperimentFile
    listed: set[int]  # the runs that its file asks for, and those born of them
    metadata: Metadata
    known: dict[int, KnownRun]  # by number

    @property
    def name(self) -> str:
        return str(self.home.path)


def merge(words: Sequence[str], parent: str | None, directory: Path) -> int:
    """Make the experiment in `directory` of the others, which stay as they are; return the exit code."""
    failpoints.arm(os.environ)
    _check_free(directory)
    with ExitStack() as locks:
        for home in (homes := _homes(words, parent)):
            locks.enter_context(held(home))
            catch_up(home)
        parts = [*map(_given, homes)]
        for one, other in combinations(parts, 2):
            _check_alike(one, other)
        runs = _union(parts)
        with publication.draft(directory) as filled:
            _fill(ExperimentDir(filled), parts, runs)
            disk.rename(filled, directory)
            disk.sync(directory.absolute().parent)
    print(f"merged {counted(len(runs), 'run')} of {len(parts)} experiments into {directory}", file=sys.stderr)
    return 0


def _check_free(directory: Path) -> None:
    if directory.exists() or directory.is_symlink():
        hint = "choose a directory that does not exist"
        raise Refusal([Problem("E611", f"{directory} exists", hint=hint)])
    if not directory.absolute().parent.is_dir():
        hint = f"create it with `mkdir -p {directory.parent}`"
        raise Refusal([Problem("E611", f"the parent of {directory} does not exist", hint=hint)])


def _homes(words: Sequence[str], parent: str | None) -> list[ExperimentDir]:
    homes = [find(parent_directory(parent), word, lambda path: reload(path).name) for word in words]
    places = [home.path.resolve() for home in homes]
    for place, home in zip(places, homes, strict=True):
        if places.count(place) > 1:
            raise Refusal([Problem("E611", f"{home.path} is given twice")])
    if len(homes) == 1:
        hint = "name two experiments or more"
        raise Refusal([Problem("E611", f"{homes[0].path} is only one experiment", hint=hint)])
    return homes


def _given(home: ExperimentDir) -> Given:
    """Read an experiment. Raises Refusal where it cannot be read."""
    with reader(home.journal) as db:
        metadata = read_metadata(db)
    text = codec.without_torn_line(home.manifest.read_text("utf-8"))
    file, runs = codec.read_whole(text, str(home.manifest))
    known = known_runs(home.journal, metadata.chunks)
    return Given(home, file, {run.number for run in runs}, metadata, {one.run.number: one for one in known})


def _check_alike(one: Given, other: Given) -> None:
    """Raises Refusal unless both are parts of one experiment, of which each trained other runs."""
    if codec.header(one.file) != codec.header(other.file):
        hint = "merge experiments of one file, trained with `fit --shard I/N`"
        raise Refusal(
            [Problem("E611", f"{one.name} and {other.name} were trained from different files", hint=hint)]
        )
    for number in sorted(one.known.keys() & other.known.keys()):
        mine, theirs = one.known[number], other.known[number]
        if mine.run.id != theirs.run.id:
            message = f"run {number} of {one.name} and run {number} of {other.name} are different runs"
            hint = "each experiment numbers clones, replacements and earlier versions of its file by itself"
            raise Refusal([Problem("E611", message, hint=hint)])
        if _has_begun(mine) and _has_begun(theirs):
            message = f"run {number} was trained in {one.name} and in {other.name}"
            hint = "train each run in only one of them, with a different `fit --shard I/N` for each"
            raise Refusal([Problem("E611", message, hint=hint)])


def _has_begun(known: KnownRun) -> bool:
    return known.state is not RunState.QUEUED or known.bracket is not None


def _union(parts: Sequence[Given]) -> dict[int, tuple[Given, Run]]:
    """By number, each run and the experiment that it is taken from: the one that has trained it."""
    found: dict[int, tuple[Given, Run]] = {}
    for part in parts:
        for number, known in part.known.items():
            if number not in found or _has_begun(known):
                found[number] = part, known.run
    return dict(sorted(found.items()))


def _fill(home: ExperimentDir, parts: Sequence[Given], runs: dict[int, tuple[Given, Run]]) -> None:
    """Make the merged experiment in a directory that is published later."""
    taken = {part.name: {number for number, (owner, _) in runs.items() if owner is part} for part in parts}
    for source, target in _trees(home, parts, runs):
        publication.copy_tree(source, target, own=LOG)
    merge_journals(
        home.journal,
        replace(parts[0].metadata, source=None),
        [Part(part.home.journal, taken[part.name]) for part in parts],
    )
    listed = set[int]().union(*(part.listed for part in parts))
    write_manifest(home, parts[0].file, (run for number, (_, run) in runs.items() if number in listed))
    publication.write(home.file, to_yaml(parts[0].file))
    disk.sync(*(place for place in (home.runs, home.trash, home.path) if place.is_dir()))


def _trees(
    home: ExperimentDir, parts: Sequence[Given], runs: dict[int, tuple[Given, Run]]
) -> Iterator[tuple[Path, Path]]:
    """The directories to copy, and where to."""
    for place in ("misc", "prepared"):
        sources = (part.home.path / place for part in parts)
        if source := next(filter(Path.is_dir, sources), None):
            yield source, home.path / place
    for part, run in runs.values():
        source = directory_of(part.home, run)
        if source.is_dir():
            yield source, home.path / source.parent.name / source.name
