"""Cache the results of load_data per worker, for all runs that would load the same data."""

import copy
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from weakref import WeakSet

from torch.utils.data import DataLoader, IterableDataset

from rapidfire_cli.mlspec import Dataset, MLSpec
from rapidfire_cli.terms import TRAIN, VALIDATION, LeafConfig, Split, canonical
from rapidfire_cli.training import fingerprint, rng, user_code
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.returns import described
from rapidfire_cli.training.settings import Changes, ProcessSettings
from rapidfire_cli.training.streams import Iterated, iterated
from rapidfire_cli.training.tracked_config import Reads, TrackedConfig, agrees
from rapidfire_cli.training.train_config import train_config

MEANT = frozenset({"val", "valid", "dev", VALIDATION})
"""Usual names of the validation split, compared without regard to case."""

LIBRARIES = frozenset({"pandas", "polars", "torch", "datasets"})  # messages name them with the type
KEPT = 4  # data sets that stay loaded while no run uses them: the most recently used (assumed)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Loaded:
    """The datasets by split, and the runs that can use them."""

    splits: Mapping[str, Dataset | Iterated]
    reads: Reads
    seed: int | None  # the run's seed if load_data drew random numbers
    fingerprint: str  # JSON: hashes of the splits
    changes: Changes  # of the process's settings; runs that share the datasets share them

    def count(self, split: Split) -> int:
        """The number of rows of a split; 0 if they can only be iterated."""
        dataset = self.splits[split]
        return 0 if isinstance(dataset, Iterated) else len(dataset)

    def indexed(self, split: Split) -> Dataset:
        """Return a split whose rows have indices. Raises Failure if they can only be iterated."""
        dataset = self.splits[split]
        if isinstance(dataset, Iterated):
            raise Failure("error", f"the rows of `{split}` can only be iterated")
        return dataset

    def fits(self, seed: int, leaf: LeafConfig) -> bool:
        """Whether a run with this seed and leaf config would load the same data."""
        return self.seed in (None, seed) and agrees(self.reads, leaf)


class DataCache:
    """Loads data once for the runs that share it."""

    def __init__(self, spec: type[MLSpec], data: dict[str, Any] | None, settings: ProcessSettings) -> None:
        self._spec = spec
        self._data = data
        self._settings = settings
        self._loaded: WeakSet[Loaded] = WeakSet()  # runs and prepared rows hold references to theirs
        self._kept: deque[Loaded] = deque(maxlen=KEPT)

    def load(self, seed: int, leaf: LeafConfig) -> Loaded:
        """Return the data for a run; load it if needed. Raises Failure, and what load_data raises."""
        found = next((loaded for loaded in self._loaded if loaded.fits(seed, leaf)), None)
        loaded = found or self._load(seed, leaf)
        self._loaded.add(loaded)
        if loaded in self._kept:
            self._kept.remove(loaded)
        self._kept.append(loaded)
        if isinstance(loaded.splits[TRAIN], Iterated) and not train_config(leaf).steps_per_epoch:
            place = user_code.written_at(self._spec.load_data)
            cause = f"the rows of the train split can only be iterated{place}: set `train.steps_per_epoch`"
            raise Failure("error", cause, knob=("train", "steps_per_epoch"))
        return loaded

    def _load(self, seed: int, leaf: LeafConfig) -> Loaded:
        reads: Reads = {}
        rng.reseed(seed, "load_data")
        before, settings = rng.capture(), self._settings.all_changes()
        splits = self._spec().load_data(copy.deepcopy(self._data or {}), TrackedConfig(leaf, reads))
        splits = _indexed(splits)
        _check(splits)
        drawn = None if rng.unchanged_since(before) else seed
        hashes = canonical(dict(fingerprint.data(splits)))
        return Loaded(splits, reads, drawn, hashes, self._settings.since(settings))


def _indexed(splits: Any) -> Any:
    """The splits with rows by index where possible; iterable splits other than `train` are read whole."""
    if not isinstance(splits, Mapping):
        return splits
    found = dict(splits)
    for split, dataset in splits.items():
        if _instead(dataset) and (rows := iterated(dataset)) and not _instead_of_rows(dataset):
            found[split] = rows if split == TRAIN else [*rows.begin(0)]
    return found


def _check(splits: Any) -> None:
    if not isinstance(splits, Mapping) or TRAIN not in splits:
        found = f"splits {', '.join(map(str, splits))}" if isinstance(splits, Mapping) else described(splits)
        raise Failure(
            "error", f"load_data must return a mapping of splits that includes `train`; it returned {found}"
        )
    if VALIDATION not in splits and (meant := [split for split in splits if f"{split}".lower() in MEANT]):
        cause = f"load_data's split `{meant[0]}` would be ignored; rename it to `{VALIDATION}`"
        raise Failure("error", cause)
    for split, dataset in splits.items():
        if isinstance(dataset, Iterated):
            continue
        if instead := _instead(dataset):
            what = f"load_data's {split} split is a {_kind(dataset)}, not a map-style dataset (rows by index)"
            raise Failure("error", f"{what}; {instead}")
        if not len(dataset):
            raise Failure("error", f"load_data's {split} split is empty")


def _instead_of_rows(dataset: Any) -> str:
    """A hint on what to return instead of an object that is not a dataset; empty if it may be one."""
    kind = _kind(dataset)
    if kind.startswith("pandas."):
        return "return datasets.Dataset.from_pandas(frame) or frame.to_dict('records')"
    if kind.startswith("polars."):
        return "return datasets.Dataset.from_polars(frame) or frame.to_dicts()"
    if isinstance(dataset, Mapping) and 0 not in dataset:
        columns = ", ".join(f"`{name}`" for name in [*dataset][:5])
        return f"it looks like columns ({columns}): return datasets.Dataset.from_dict(columns)"
    if isinstance(dataset, str | bytes | PurePath):
        return "return its rows, such as datasets.load_dataset('csv', data_files=path)['train']"
    if isinstance(dataset, DataLoader):
        return "return the dataset that it loads; rapidfire makes the batches"
    return ""


def _instead(dataset: Any) -> str:
    """A hint on what to return instead of an object without rows by index; empty if it has them."""
    if instead := _instead_of_rows(dataset):
        return instead
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        return "its rows can only be iterated: return list(dataset), or datasets.Dataset.from_generator(…)"
    return "" if hasattr(dataset, "__len__") else "it needs `__len__`"


def _kind(dataset: Any) -> str:
    """The name of the dataset's type, with its library if that is a well-known one."""
    cls = type(dataset)
    library = cls.__module__.partition(".")[0]
    return f"{library}.{cls.__name__}" if library in LIBRARIES else cls.__name__
