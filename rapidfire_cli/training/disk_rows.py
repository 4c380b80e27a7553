"""Prepared rows on disk: a file per field, mapped by all workers of a fit and shared through the page cache.

Theory of operation. Stackable rows that exceed the memory for prepared rows are written to a directory of the
experiment. There is one publication for each split and each combination of what its rows depend on. The first
worker that needs the rows writes them; other workers that need the same rows wait. The leftovers of a killed
writer are deleted, and damaged files are written again. The name of a publication contains its size and a
hash of its facts, so the names alone, including those of drafts, show how much space is used.

The directory belongs to one fit, which deletes it when it begins and when it ends: a later fit may find other
images behind the same paths, and a hash of the rows cannot detect that.
"""

import hashlib
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor

from rapidfire_cli.durable import disk, publication
from rapidfire_cli.durable.publication import Damaged
from rapidfire_cli.terms import Plain, Split, canonical
from rapidfire_cli.training.batches import Row, Stacked
from rapidfire_cli.training.row_source import Source
from rapidfire_cli.training.row_trial import NotKept, Trial, mebibytes
from rapidfire_cli.training.shared_files import alone
from rapidfire_cli.training.stacking import Stacks, kind
from rapidfire_cli.training.tracked_config import Reads, agrees

NAME: Final = re.compile(r"(?:\.tmp-\d+-)?(\d+)-[0-9a-f]+")  # of a publication or draft; group 1: bytes
HIDDEN: Final = "."  # the prefix of drafts
FREE: Final = 0.5  # share of the disk's free space that one split may take (assumed)
PAUSE: Final = 0.05  # seconds between two checks whether another worker has finished (assumed)
CPU: Final = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Found:
    """Rows found on disk, and what they depend on."""

    rows: Stacked
    reads: Reads
    seed: int | None  # None if the rows do not depend on it


class DiskRows:
    """A store of at most `room` bytes of prepared rows below `path`."""

    def __init__(self, path: Path, room: int, worker: str) -> None:
        """Create the store; `worker` is a hash of what all rows of this worker depend on."""
        self._path = path
        self._room = room
        self._worker = worker

    def __bool__(self) -> bool:
        return self._room > 0

    def find(self, split: Split, source: Source) -> Found | None:
        """Return the rows that the run would prepare for the split, if they are present and undamaged."""
        for path in self._published():
            try:
                facts = publication.claimed(path).facts
                if self._fits(facts, split, source):
                    publication.verify(path)
                    return _mapped(path, facts)
            except (Damaged, OSError):
                continue
        return None

    def prepared(self, trial: Trial, sample: Mapping[int, Row], size: int) -> Found:
        """Write all rows of the split, or wait for another worker that does, and return them.

        `size` is their size in bytes. Raises NotKept, and what user code raises.
        """
        facts = self._facts(trial)
        if any(value.device != CPU for value in sample[0].values() if isinstance(value, Tensor)):
            raise NotKept("row_prep returns tensors that are not in the CPU's memory", size)
        target = self._target(size, facts)
        with ExitStack() as stack:
            while (draft := self._draft(target, size, stack)) is None:
                if found := self.find(trial.split, trial.source):
                    return found
                if target.exists():  # other rows: only some of them read the knobs that differ
                    target = self._target(size, {**facts, "leaf": trial.source.assignment.config})
                time.sleep(PAUSE)
            made = _written(trial, sample, draft)
            with _writing():
                publication.issue(draft, target, publication.measured(draft), {**self._facts(trial), **made})
        if found := self.find(trial.split, trial.source):
            return found
        raise NotKept("what was written to disk could not be read back", size)

    def _target(self, size: int, facts: dict[str, Plain]) -> Path:
        return self._path / f"{size}-{hashlib.sha256(canonical(facts).encode()).hexdigest()[:16]}"

    def _draft(self, target: Path, size: int, stack: ExitStack) -> Path | None:
        """A draft directory, entered on the stack; None if another worker wrote or is writing the rows."""
        with _writing():
            disk.make_directory(self._path, lasting=False)
            with alone(self._path):
                publication.sweep(self._path)
                if any(path.name.endswith(f"-{target.name}") for path in self._path.glob(".tmp-*")):
                    return None
                if target.exists():
                    try:
                        publication.verify(target)
                        return None
                    except Damaged:
                        publication.remove(target)
                self._check_room(size)
                return stack.enter_context(publication.draft(target))

    def _check_room(self, size: int) -> None:
        names = map(NAME.fullmatch, [path.name for path in self._path.iterdir()])
        left = self._room - sum(int(name[1]) for name in names if name)
        if size > left:
            has = f"`disk_cache` has {mebibytes(left)} left"
            raise NotKept(f"they need {mebibytes(size)}, more than `data_cache` has left, and {has}", size)
        if size > (free := shutil.disk_usage(self._path).free) * FREE:
            raise NotKept(f"they need {mebibytes(size)}, and the disk has {mebibytes(free)} left", size)

    def _published(self) -> list[Path]:
        try:
            return sorted(path for path in self._path.iterdir() if not path.name.startswith(HIDDEN))
        except OSError:
            return []

    def _facts(self, trial: Trial) -> dict[str, Plain]:
        source = trial.source
        reads = sorted([list(path), deep, value] for (path, deep), value in source.reads.items())
        drawn = trial.seeded or source.drawn or source.loaded.seed is not None
        own = self._own(trial.split, source)
        return {**own, "seed": source.seed if drawn else None, "reads": cast("Plain", reads)}

    def _own(self, split: Split, source: Source) -> dict[str, Plain]:
        """The facts that a run shares with all runs that can use its rows of the split."""
        under = [repr(each) for each in source.under]
        data = source.loaded.fingerprint
        return {"worker": self._worker, "split": split, "data": data, "under": cast("Plain", under)}

    def _fits(self, facts: Mapping[str, Any], split: Split, source: Source) -> bool:
        same = all(facts[name] == value for name, value in self._own(split, source).items())
        return same and facts["seed"] in (None, source.seed) and agrees(_reads(facts), source.leaf)


def _reads(facts: Mapping[str, Any]) -> Reads:
    return {(tuple(path), deep): value for path, deep, value in facts["reads"]}


def _written(trial: Trial, sample: Mapping[int, Row], draft: Path) -> dict[str, Plain]:
    """Write all rows, a file per field; return the facts needed to read them.

    Raises NotKept, and what user code raises.
    """
    one = Stacks(sample[0], 1)
    with ExitStack() as stack:
        files: dict[str, BufferedWriter] = {}
        with _writing():
            for number, name in enumerate(one.fields):
                files[name] = stack.enter_context(_closing(disk.create(draft / f"{number}")))
        for row in trial.each(sample):
            if kind(row) != kind(sample[0]) or not one.put(0, row):
                raise NotKept("they exceed `data_cache`, and rows of different kinds are not kept on disk")
            with _writing():
                for name, file in files.items():
                    file.write(_bytes(one.fields[name]).numpy().data)
    shapes = [[name, f"{field.dtype}"[6:], list(field.shape[1:])] for name, field in one.fields.items()]
    return {"count": trial.count, "fields": cast("Plain", shapes)}


def _bytes(field: Tensor) -> Tensor:
    return field.reshape(-1).view(torch.uint8)


def _mapped(path: Path, facts: Mapping[str, Any]) -> Found:
    """Map the published rows into memory, copy-on-write."""
    count, fields = facts["count"], {}
    for number, (name, dtype, shape) in enumerate(facts["fields"]):
        kind_ = getattr(torch, dtype)
        field = torch.empty((count, *shape), dtype=kind_)
        if field.nbytes:
            memory = np.memmap(path / f"{number}", np.uint8, mode="c")
            field = torch.from_numpy(memory).view(kind_).view(count, *shape)
        fields[name] = field
    return Found(Stacked(fields, count, CPU), _reads(facts), facts["seed"])


@contextmanager
def _closing(file: BufferedWriter) -> Iterator[BufferedWriter]:
    """Close the file at the end; raise NotKept for a disk error."""
    try:
        yield file
    except BaseException:
        file.raw.close()  # drop the buffer instead of writing it
        raise
    with _writing():
        file.close()


@contextmanager
def _writing() -> Iterator[None]:
    """Turn disk errors into NotKept: they must not fail the run."""
    try:
        yield
    except OSError as error:
        raise NotKept(f"they cannot be written to disk ({error.strerror or error})") from error
