"""Deleted runs: their directories are renamed into the trash, from which they come back or are purged.

Every function may be called again after a kill: what it did already it leaves as it is.
"""

from collections.abc import Iterable
from pathlib import Path

from rapidfire_cli.durable import disk, publication
from rapidfire_cli.store.layout import ExperimentDir, Numbered
from rapidfire_cli.store.queries import RunRow
from rapidfire_cli.terms import RunState


def throw_away(home: ExperimentDir, run: Numbered) -> None:
    """Move the run's directory into the trash, if it has one; durable when this returns."""
    disk.make_directory(home.trash, below=home.path)
    _move(home.run(run), _place(home, run))


def bring_back(home: ExperimentDir, run: Numbered) -> None:
    """Move the run's directory back; durable when this returns."""
    _move(_place(home, run), home.run(run))


def purge(home: ExperimentDir, run: Numbered) -> None:
    """Delete the run's directory in the trash for good."""
    publication.sweep(home.trash, alone=True)
    if (place := _place(home, run)).is_dir():
        publication.remove(place)


def directory_of(home: ExperimentDir, run: Numbered) -> Path:
    """Where the run's files are: its directory, or that in the trash."""
    place = _place(home, run)
    return place if place.is_dir() else home.run(run)


def is_cleaned(home: ExperimentDir, run: RunRow) -> bool:
    """Whether `clean` has deleted the files of a run that had ended an epoch."""
    return run.epoch > 0 and run.state is not RunState.DELETED and not home.run(run).is_dir()


def oldest_first(home: ExperimentDir, runs: Iterable[Numbered]) -> list[Numbered]:
    """The runs by when they were deleted."""
    return sorted(runs, key=lambda run: (_deleted_at(home, run), run.number))


def size_of(directory: Path) -> int:
    """Bytes that deleting the directory frees: files with a second name elsewhere free none."""
    files = [path.lstat() for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    shared: dict[int, list[int]] = {}
    for stat in files:
        shared.setdefault(stat.st_ino, []).append(stat.st_size)
    links = {stat.st_ino: stat.st_nlink for stat in files}
    return sum(sizes[0] for node, sizes in shared.items() if len(sizes) == links[node])


def _move(source: Path, target: Path) -> None:
    if source.is_dir() and not source.is_symlink():
        disk.rename(source, target)
        disk.sync(source.parent, target.parent)


def _place(home: ExperimentDir, run: Numbered) -> Path:
    return home.trash / home.run(run).name


def _deleted_at(home: ExperimentDir, run: Numbered) -> int:
    place = _place(home, run)
    return place.stat().st_ctime_ns if place.is_dir() else 0
