"""What load_data returned, kept per worker for every run that would load the same."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rapidfire_cli.mlspec import Dataset, MLSpec
from rapidfire_cli.terms import TRAIN, VALIDATION, LeafConfig, canonical
from rapidfire_cli.training import fingerprint, rng
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.knobs import Knobs, Reads, agrees
from rapidfire_cli.training.settings import Changes, ProcessSettings

MEANT = frozenset({"val", "valid", "dev", VALIDATION})
"""What people call the validation split, in any case."""

KEPT = 4  # loaded data sets beyond those in use (assumed)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Loaded:
    """The datasets by split, and which runs they are right for."""

    splits: Mapping[str, Dataset]
    reads: Reads
    seed: int | None  # where load_data drew randomness
    fingerprint: str  # JSON: hashes of the splits
    changes: Changes  # of the process's settings; each run that shares the datasets shares these, too

    def fits(self, seed: int, leaf: LeafConfig) -> bool:
        """Whether a run of this seed and leaf config would load just this."""
        return self.seed in (None, seed) and agrees(self.reads, leaf)


class DataCache:
    """Loads data once for the runs that share it."""

    def __init__(self, spec: type[MLSpec], data: dict[str, Any] | None, settings: ProcessSettings) -> None:
        self._spec = spec
        self._data = data
        self._settings = settings
        self._loaded: list[Loaded] = []

    def load(self, seed: int, leaf: LeafConfig) -> Loaded:
        """The data for a run. Raises Failure, and what load_data raises."""
        for loaded in self._loaded:
            if loaded.fits(seed, leaf):
                return loaded
        self._loaded = [*self._loaded[-KEPT + 1 :], self._load(seed, leaf)]
        return self._loaded[-1]

    def _load(self, seed: int, leaf: LeafConfig) -> Loaded:
        reads: Reads = {}
        rng.reseed(seed, "load_data")
        before, settings = rng.capture(), self._settings.all_changes()
        splits = self._spec().load_data(copy.deepcopy(self._data or {}), Knobs(leaf, reads))
        _check(splits)
        drawn = None if rng.undrawn(before) else seed
        hashes = canonical(dict(fingerprint.data(splits)))
        return Loaded(splits, reads, drawn, hashes, self._settings.since(settings))


def _check(splits: Any) -> None:
    if not isinstance(splits, Mapping) or TRAIN not in splits:
        found = (
            f"splits {', '.join(map(str, splits))}" if isinstance(splits, Mapping) else type(splits).__name__
        )
        raise Failure(
            "error", f"load_data must return datasets by split, `train` among them; it returned {found}"
        )
    if VALIDATION not in splits and (meant := [split for split in splits if f"{split}".lower() in MEANT]):
        cause = f"load_data's split `{meant[0]}` would not be looked at; call it `{VALIDATION}`"
        raise Failure("error", cause)
    for split, dataset in splits.items():
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            kind = type(dataset).__name__
            raise Failure("error", f"load_data's {split} split is no map-style dataset but {kind}")
        if not len(dataset):
            raise Failure("error", f"load_data's {split} split is empty")
