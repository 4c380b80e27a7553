"""What a run's rows follow from, and how its own MLSpec prepares them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from rapidfire_cli.engine.messages import Assignment
from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.terms import LeafConfig
from rapidfire_cli.training import generators
from rapidfire_cli.training.batches import BatchSource, Row, Uncached
from rapidfire_cli.training.datasets import Loaded
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.row_streams import RowStreams
from rapidfire_cli.training.streams import Iterated, Stream
from rapidfire_cli.training.tracked_config import Reads, TrackedConfig
from rapidfire_cli.training.train_config import train_config


@dataclass(frozen=True, slots=True)
class Source:
    """What a run's rows follow from, once its `initialize_run` is done."""

    assignment: Assignment
    leaf: LeafConfig
    spec: MLSpec
    cfg: TrackedConfig  # the one that `initialize_run` had, so that what it kept of it is noted too
    reads: Reads  # what was read through `cfg`
    drawn: bool  # whether `initialize_run` drew randomness
    loaded: Loaded
    under: Sequence[Any]  # settings of the process that rows may depend on

    @property
    def run(self) -> int:
        """Its number."""
        return self.assignment.run

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.assignment.seed


def uncached(split: str, source: Source, device: torch.device) -> Uncached:
    """The rows of a split, prepared by the run's own MLSpec whenever they are needed."""
    streams = streams_of(split, source)
    dataset: Any = source.loaded.splits[split]
    if isinstance(dataset, Iterated):
        its = train_config(source.leaf)
        dataset = Stream(dataset, streams, its.kept(0))
    prepare, collate = partial(_prepare, source, split), partial(collate_of, source)
    return Uncached(split, dataset, prepare, collate, streams, device)


def stream_in(source: BatchSource) -> Stream | None:
    """The stream that its rows come from, if they can only be iterated."""
    return source.dataset if isinstance(source, Uncached) and isinstance(source.dataset, Stream) else None


def streams_of(split: str, source: Source) -> RowStreams:
    """What seeds the rows of a split, with the run's own MLSpec."""
    dataset: Any = source.loaded.splits[split]
    held = dataset.dataset if isinstance(dataset, Iterated) else dataset
    own = generators.within_reach(source.spec, dataset=held)
    return RowStreams(source.seed, split, own)


def _prepare(source: Source, split: str, row: Any) -> Row:
    return prepared(source.spec, source, split, row)


def prepared(spec: MLSpec, source: Source, split: str, row: Any) -> Row:
    """The row as this MLSpec, the run's own or another instance, prepares it. Raises Failure."""
    found: Row | None = spec.row_prep(row, source.cfg, split)
    if found is None:
        raise Failure("error", "row_prep must return a dict of tensors and numbers; it returned None")
    return found


def collate_of(source: Source, rows: Sequence[Row]) -> Any:
    """The rows joined by the run's own MLSpec."""
    batch = source.spec.collate(rows, source.cfg)
    if batch is None:
        raise Failure("error", "collate must return the rows as one batch; it returned None")
    return batch


def plainly_collated(spec: MLSpec) -> bool:
    """Whether the MLSpec has no collate of its own."""
    return getattr(spec.collate, "__func__", None) is MLSpec.collate
