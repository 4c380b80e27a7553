"""Where an experiment lives on disk, and how a person's word for it is understood."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

from rapidfire_cli.durable import disk
from rapidfire_cli.problems import Problem, Refusal, did_you_mean

DEFAULT_PARENT = "rapidfire_experiments"


class Numbered(Protocol):
    """A run, as far as its directory goes."""

    @property
    def number(self) -> int: ...
    @property
    def id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ExperimentDir:
    """The directory that holds everything one experiment produced."""

    path: Path

    @property
    def file(self) -> Path:
        return self.path / "experiment.yaml"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.jsonl"

    @property
    def journal(self) -> Path:
        return self.path / "journal.db"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def control(self) -> Path:
        return self.path / "control.sock"

    @property
    def requests(self) -> Path:
        return self.path / "requests.jsonl"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def trash(self) -> Path:
        return self.path / "trash"

    @property
    def trackers(self) -> Path:
        return self.path / "trackers"

    @property
    def misc(self) -> Path:
        return self.path / "misc"

    @property
    def prepared(self) -> Path:
        return self.path / "prepared"

    @property
    def rows(self) -> Path:
        return self.path / "rows"

    @property
    def cluster(self) -> Path:
        return self.path / "cluster"

    @property
    def gangs(self) -> Path:
        return self.path / "gangs"

    def run(self, run: Numbered) -> Path:
        """The directory of one run: `runs/<number>-<id>`."""
        return Path(self.run_name(run))

    def run_name(self, run: Numbered) -> str:
        """That directory as text, for each of many runs at once: paths cost ten times as much to join."""
        return f"{self.path}{os.sep}runs{os.sep}{run.number}-{run.id}"


def is_kept(home: ExperimentDir) -> bool:
    """Whether anything was ever trained there; a journal may have been lost since."""
    return home.journal.is_file() or home.runs.is_dir()


def set_aside(home: ExperimentDir) -> Path | None:
    """Rename the experiment's directory to make room for a new one; None if it has nothing to keep.

    The new name, `<name>~1`, is none that an experiment can have.
    """
    if not is_kept(home):
        return None
    names = (home.path.with_name(f"{home.path.name}~{place}") for place in count(1))
    aside = next(path for path in names if not path.exists())
    disk.rename(home.path, aside)
    disk.sync(aside.parent)
    return aside


def parent_directory(given: str | None) -> Path:
    """The directory of the experiments: `--dir`, RAPIDFIRE_DIR, or the default in the working directory."""
    return Path(given or DEFAULT_PARENT)


def find(parent: Path, word: str | None, name_of: Callable[[Path], str]) -> ExperimentDir:
    """The existing experiment that `word` means: its file, its directory or its name; None means the newest.

    `name_of` reads an experiment file's name. Raises Refusal when there is no such experiment.
    """
    if word is None:
        return _newest(parent)
    path = Path(word)
    if is_kept(ExperimentDir(path)):
        return ExperimentDir(path)
    home = ExperimentDir(parent / (name_of(path) if path.is_file() else word))
    if not is_kept(home):
        raise Refusal([_missing(parent, home.path.name)])
    return home


def _newest(parent: Path) -> ExperimentDir:
    homes = experiments(parent)
    if not homes:
        hint = "start one with `rapidfire fit FILE`"
        raise Refusal([Problem("E601", f"no experiments found in {parent}", hint=hint)])
    return max(homes, key=_last_written)


def experiments(parent: Path) -> list[ExperimentDir]:
    """Those in the directory, by name."""
    return list(filter(is_kept, map(ExperimentDir, sorted(parent.glob("*")))))


def _last_written(home: ExperimentDir) -> int:
    """When the journal was last written, in nanoseconds; writes go to its log first."""
    if not home.journal.is_file():
        return 0
    log = home.journal.with_name(f"{home.journal.name}-wal")
    logged = log.stat().st_mtime_ns if log.exists() and log.stat().st_size else 0
    return max(home.journal.stat().st_mtime_ns, logged)


def _missing(parent: Path, name: str) -> Problem:
    names = [home.path.name for home in experiments(parent)]
    expected, hint = ", ".join(names), did_you_mean(name, names)
    return Problem("E601", f"experiment `{name}` not found in {parent}", expected=expected, hint=hint)
