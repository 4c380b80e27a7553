"""Find and describe a run's checkpoints, without loading torch."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rapidfire_cli.engine.epoch_log import NOTHING, Logged, heard, read, told
from rapidfire_cli.facts import EpochEnded, RunOpened
from rapidfire_cli.terms import Plain

FORMER = "checkpoints"  # their place in the run's directory in format 2
NAME = re.compile(r"step-\d{10,}-epoch-\d{6,}")
STATE = "state.pt"
KEPT = "kept"  # epoch ends that are never outdated
ORIGIN = "origin"  # the checkpoint of another run that a run begins with
MODEL, FINAL, BEST = "model", "final", "best"  # weights: in a checkpoint, and in the run's own directory
SUFFIXES = (".safetensors", ".pt")  # of weights: the second where safetensors cannot hold them
FORMAT = 4  # of a checkpoint; 1 had the whole model in the weights file
READABLE = (2, 3, FORMAT)  # 2 had every random stream in full, 3 had frozen weights


@dataclass(frozen=True, slots=True)
class Best:
    """The best epoch so far by the objective."""

    metric: str
    direction: str
    epoch: int
    value: float


@dataclass(frozen=True, slots=True)
class Began:
    """The run's first epochs are those of another one, which differs in `epochs` alone."""

    run: int  # the number of that one
    epoch: int  # 1, 2, …


@dataclass(frozen=True, slots=True)
class Reached:
    """The progress of a run at a checkpoint, and the metrics of its last epochs."""

    run: int
    epoch: int  # finished
    step: int
    at: int  # ticks
    chunks: int  # ticks per epoch
    history: tuple[EpochEnded, ...]  # that are not in the log
    opened: RunOpened | None  # what its results depend on besides its config
    best: Best | None = None  # whose weights are in the checkpoint
    logged: Logged = NOTHING  # the epochs before
    epoch_end: bool = False  # whether no step of a further epoch was taken
    epochs_read: bool = True  # whether user code may have read how many epochs the run has
    began: Began | None = None


def to_facts(reached: Reached) -> dict[str, Plain]:
    """The facts to store in a checkpoint's manifest."""
    return {
        "run": reached.run,
        "epoch": reached.epoch,
        "step": reached.step,
        "at": reached.at,
        "chunks": reached.chunks,
        "history": [told(ended) for ended in reached.history],
        "logged": asdict(reached.logged) if reached.logged.epochs else None,
        "opened": _spelt(reached.opened),
        "best": asdict(reached.best) if reached.best else None,
        "epoch_end": reached.epoch_end,
        "epochs_read": reached.epochs_read,
        "began": asdict(reached.began) if reached.began else None,
        "format": FORMAT,
    }


def from_facts(facts: Mapping[str, Any]) -> Reached:
    """The inverse of `to_facts`. Raises KeyError, TypeError or ValueError on anything else."""
    return Reached(
        facts["run"],
        facts["epoch"],
        facts["step"],
        facts["at"],
        facts["chunks"],
        tuple(heard(facts["run"], plain) for plain in facts["history"]),
        RunOpened(facts["run"], **facts["opened"]) if facts.get("opened") else None,
        Best(**facts["best"]) if facts.get("best") else None,
        Logged(**facts["logged"]) if facts.get("logged") else NOTHING,
        facts.get("epoch_end", False),
        facts.get("epochs_read", True),
        Began(**facts["began"]) if facts.get("began") else None,
    )


def epochs_of(directory: Path, reached: Reached) -> tuple[EpochEnded, ...] | None:
    """Every epoch up to the checkpoint of a run in this directory; None if the logged ones are lost."""
    logged = read(directory, reached.run, reached.logged)
    return None if logged is None else (*logged, *reached.history)


def name(step: int, epoch: int) -> str:
    """A checkpoint's directory; names sort by age."""
    return f"step-{step:010d}-epoch-{epoch:06d}"


def weights_in(directory: Path, stem: str) -> Path | None:
    """The file of weights with this name, in any format; None if there is none."""
    named = (directory / f"{stem}{suffix}" for suffix in SUFFIXES)
    return next((path for path in named if path.is_file()), None)


def newest_first(directory: Path) -> list[Path]:
    """The checkpoints in a run's directory; other entries are ignored."""
    entries = (
        entry for place in (directory, directory / FORMER) if _is_own(place) for entry in place.iterdir()
    )
    found = (entry for entry in entries if NAME.fullmatch(entry.name) and _is_own(entry))
    return sorted(found, key=lambda path: path.name, reverse=True)


def _is_own(path: Path) -> bool:
    """Whether the path is a directory, and not a link that leads elsewhere."""
    return path.is_dir() and not path.is_symlink()


def _spelt(opened: RunOpened | None) -> Plain:
    if opened is None:
        return None
    return {"code": opened.code, "data": opened.data, "environment": opened.environment}
