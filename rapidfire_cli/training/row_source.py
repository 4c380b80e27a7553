"""The source of a run's rows: everything they depend on, and how the run's MLSpec prepares them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from rapidfire_cli.engine.messages import Assignment
from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.terms import LeafConfig
from rapidfire_cli.training import own_generators
from rapidfire_cli.training.batches import BatchSource, Row, Uncached
from rapidfire_cli.training.datasets import Loaded
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.row_streams import RowStreams
from rapidfire_cli.training.share import WHOLE, Share
from rapidfire_cli.training.streams import Iterated, Stream
from rapidfire_cli.training.tracked_config import Reads, TrackedConfig
from rapidfire_cli.training.train_config import train_config


@dataclass(frozen=True, slots=True)
class Source:
    """Everything that a run's rows depend on, after its `initialize_run`."""

    assignment: Assignment
    leaf: LeafConfig
    spec: MLSpec
    cfg: TrackedConfig  # the object that `initialize_run` received, so that later reads are recorded too
    reads: Reads  # knobs that were read through `cfg`
    drawn: bool  # whether `initialize_run` drew random numbers
    loaded: Loaded
    under: Sequence[Any]  # settings of the process that rows may depend on
    share: Share = WHOLE  # of each batch, which this process trains

    @property
    def run(self) -> int:
        """The run's number."""
        return self.assignment.run

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.assignment.seed


def uncached(split: str, source: Source, device: torch.device) -> Uncached:
    """Create a source that prepares a split's rows with the run's MLSpec whenever they are needed."""
    streams = streams_of(split, source)
    dataset: Any = source.loaded.splits[split]
    if isinstance(dataset, Iterated):
        its = train_config(source.leaf)
        dataset = Stream(dataset, streams, its.kept(0))
    prepare, collate = partial(_prepare, source, split), partial(collate_of, source)
    return Uncached(split, dataset, prepare, collate, streams, device)


def stream_in(source: BatchSource) -> Stream | None:
    """Return the stream behind a source of batches; None if its rows have indices."""
    return source.dataset if isinstance(source, Uncached) and isinstance(source.dataset, Stream) else None


def streams_of(split: str, source: Source) -> RowStreams:
    """Create the random streams for the rows of a split, including the MLSpec's own generators."""
    dataset: Any = source.loaded.splits[split]
    held = dataset.dataset if isinstance(dataset, Iterated) else dataset
    own = own_generators.within_reach(source.spec, dataset=held)
    return RowStreams(source.seed, split, own)


def _prepare(source: Source, split: str, row: Any) -> Row:
    return prepared(source.spec, source, split, row)


def prepared(spec: MLSpec, source: Source, split: str, row: Any) -> Row:
    """Prepare a row with this MLSpec, which may be the run's or another instance. Raises Failure."""
    found: Row | None = spec.row_prep(row, source.cfg, split)
    if found is None:
        raise Failure("error", "row_prep must return a dict of tensors and numbers; it returned None")
    return found


def collate_of(source: Source, rows: Sequence[Row]) -> Any:
    """Join rows into a batch with the run's MLSpec."""
    batch = source.spec.collate(rows, source.cfg)
    if batch is None:
        raise Failure("error", "collate must return the rows as one batch; it returned None")
    return batch


def plainly_collated(spec: MLSpec) -> bool:
    """Whether the MLSpec uses the default `collate`."""
    return getattr(spec.collate, "__func__", None) is MLSpec.collate
