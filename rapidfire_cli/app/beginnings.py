"""Let a new run begin where a known run already was that differs from it in `epochs` alone.

The checkpoint of their last common durable epoch is put into the new run's directory, sharing its bytes. The
worker that opens the run decides whether to begin with it: code, data and environment must be those of then,
and the MLSpec must not have read `train.epochs` (`training/checkpoint.py`).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from rapidfire_cli.app.control.cloning import EpochEnd, epoch_ends
from rapidfire_cli.app.control.trash import directory_of
from rapidfire_cli.durable import disk, publication
from rapidfire_cli.durable.publication import Damaged, claimed
from rapidfire_cli.engine.checkpoints import ORIGIN, STATE, Began, from_facts, newest_first
from rapidfire_cli.engine.epoch_log import NAME
from rapidfire_cli.manifest.identity import identify
from rapidfire_cli.store.known_runs import KnownRun
from rapidfire_cli.store.layout import ExperimentDir, Numbered
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import Plain, Run, canonical

RUN = "run"  # what a scheduler's argument says that is the length of the run
BY_LENGTH = "onecyclelr"  # gets the length of the run unasked


def begin_with_known(
    home: ExperimentDir, file: ExperimentFile, new: Sequence[Run], known: Iterable[KnownRun]
) -> None:
    """Give each new run the checkpoint that it can begin with, if there is one. Raises OSError."""
    others: dict[tuple[str, int], list[Run]] = {}
    for run in (one.run for one in known) if new else ():
        if not run.warm_start and _is_of(file, run):
            others.setdefault(_apart_from_epochs(run), []).append(run)
    for run in new if others else ():
        if run.warm_start or _depends_on_length(run.leaf["train"].get("lr_scheduler")):
            continue
        if found := [*_common(home, run, others.get(_apart_from_epochs(run), ()))]:
            last, other = max(found, key=lambda each: each[0].reached.epoch)
            directory = home.run(run)
            if (log := directory_of(home, other) / NAME).is_file():
                disk.make_directory(directory, below=home.path)
                if not (directory / NAME).exists():
                    publication.share(log, directory / NAME)
            with suppress(FileNotFoundError):  # then it begins anew
                publication.twin(last.path, directory / ORIGIN)


def began_with(home: ExperimentDir, run: Numbered) -> Began | None:
    """Where the run began, if that was not its first epoch, as far as its newest checkpoint says."""
    for path in newest_first(directory_of(home, run))[:1]:
        with suppress(Damaged, KeyError, TypeError, ValueError):
            return from_facts(claimed(path).facts).began
    return None


def _common(home: ExperimentDir, run: Run, others: Iterable[Run]) -> Iterator[tuple[EpochEnd, Run]]:
    """The durable epoch ends of others, up to the run's length, that can be trained on from."""
    for other in others:
        for epoch, end in epoch_ends(directory_of(home, other)).items():
            if epoch <= run.leaf["train"]["epochs"] and not end.reached.epochs_read and _is_whole(end.path):
                yield end, other


def _is_whole(checkpoint: Path) -> bool:
    return (checkpoint / STATE).is_file()


def _is_of(file: ExperimentFile, run: Run) -> bool:
    """Whether the run has the file's MLSpec and data."""
    return identify(file.mlspec, file.data, run.seed, run.replicate)(run.config) == run.id


def _apart_from_epochs(run: Run) -> tuple[str, int]:
    """The config without `epochs`, and the seed: what is the same in runs that are trained alike."""
    leaf = run.leaf
    del leaf["train"]["epochs"]
    return canonical(leaf), run.seed


def _depends_on_length(section: Plain) -> bool:
    """Whether the learning rates of a run depend on its length."""
    match section:
        case dict():
            own = str(section.get("name", "")).lower() == BY_LENGTH
            return own or any(map(_depends_on_length, section.values()))
        case list():
            return any(map(_depends_on_length, section))
        case _:
            return section == RUN
