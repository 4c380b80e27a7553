"""`clean`: free the disk of what no listed run needs."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from rapidfire_cli.app.confirming import confirmed
from rapidfire_cli.app.control.offline import catch_up
from rapidfire_cli.app.control.trash import size_of
from rapidfire_cli.app.errors import REFUSED
from rapidfire_cli.app.files import reload
from rapidfire_cli.app.holding import held
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.printing import print_either
from rapidfire_cli.durable import disk, publication
from rapidfire_cli.facts import Fact, RunChanged, Saved
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import RunRow, overview
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.formats import Output, Record
from rapidfire_cli.view.wording import size_text

RUN = re.compile(r"(?P<number>[1-9]\d*)-(?P<id>[0-9a-f]{16})")
"""The name of a run's directory."""


@dataclass(frozen=True, slots=True)
class Unneeded:
    """A directory that no listed run needs."""

    path: Path
    why: str
    size: int  # bytes that are freed
    run: RunRow | None = None  # whose directory it is, as far as the journal knows


def clean(experiment: str | None, parent: str | None, sure: bool, dry_run: bool, output: Output) -> int:
    """Delete it, after asking unless `sure`, and print what is deleted; return the exit code.

    Raises Refusal if the experiment does not exist, and Held while a process trains it.
    """
    home = open_overview(experiment, parent).home
    with nullcontext() if dry_run else held(home):
        if not dry_run:
            catch_up(home)
        found = [*_unneeded(home)]
        freed = size_text(sum(each.size for each in found))
        if found and not (sure or dry_run):
            _print_lines(home, found, sys.stderr.write)
            if not confirmed(f"free {freed}", "clean"):
                return REFUSED
        if not dry_run:
            _delete(home, found)
    print_either(
        output,
        lambda: _print_lines(home, found, sys.stdout.write),
        lambda: {"dry_run": dry_run, "deleted": [dict(_record(home, each)) for each in found]},
        lambda: (_record(home, each) for each in found),
    )
    ended = f"dry run: {freed} would be freed" if dry_run else f"freed {freed}"
    print(ended if found else "nothing to clean", file=sys.stderr)
    return 0


def _unneeded(home: ExperimentDir) -> Iterator[Unneeded]:
    """Directories of runs that neither the journal nor the file lists, and rows that a kill left behind."""
    rows = overview(home.journal, alive=False, unlisted=True).rows
    needed = {row.id for row in rows if row.listed}
    if home.file.is_file():  # a fit may have been given a part of it
        needed |= {run.id for run in expand(reload(home.file))}
    known = {home.run(row).name: row for row in rows}
    for path in sorted(home.runs.glob("*"), key=_place):
        named = RUN.fullmatch(path.name)
        if not named or named["id"] in needed or path.is_symlink() or not path.is_dir():
            continue
        row = known.get(path.name)
        why = "the file no longer asks for it" if row else "the journal does not know it"
        yield Unneeded(path, f"run {named['number']}: {why}", size_of(path), row)
    if home.rows.is_dir():
        yield Unneeded(home.rows, "prepared rows of a fit that was killed", size_of(home.rows))


def _place(path: Path) -> tuple[int, str]:
    named = RUN.fullmatch(path.name)
    return int(named["number"]) if named else 0, path.name


def _delete(home: ExperimentDir, found: Sequence[Unneeded]) -> None:
    """Record that nothing of these runs is durable, then delete; after a kill between, it is found again."""
    facts = [fact for each in found if each.run for fact in _forgotten(each.run)]
    journal = SqliteJournal(home.journal)
    journal.record(facts)
    journal.close()
    for each in found:
        if each.path == home.rows:
            disk.discard(each.path)
        else:
            publication.remove(each.path)


def _forgotten(row: RunRow) -> Iterator[Fact]:
    """A run without its checkpoints; if a file asks for it again, it trains from scratch."""
    yield Saved(row.number, 0, 0)
    if row.state is RunState.COMPLETED:
        yield RunChanged(row.number, RunState.INTERRUPTED)


def _print_lines(home: ExperimentDir, found: Sequence[Unneeded], write: Callable[[str], int]) -> None:
    for each in found:
        write(f"{each.path.relative_to(home.path)}: {size_text(each.size)} ({each.why})\n")


def _record(home: ExperimentDir, each: Unneeded) -> Record:
    number = each.run.number if each.run else None
    return {"path": str(each.path.relative_to(home.path)), "run": number, "bytes": each.size, "why": each.why}
