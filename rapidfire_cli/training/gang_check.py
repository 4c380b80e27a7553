"""Checks that a run can be trained by a gang, and that its ranks have opened the same run."""

from collections.abc import Iterator
from typing import Any

import xxhash
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rapidfire_cli.engine.messages import Finding
from rapidfire_cli.terms import LeafConfig, canonical, gang_size
from rapidfire_cli.training.batch_norm import first_normalised
from rapidfire_cli.training.batches import BatchSource
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.frozen import hashed, is_plain
from rapidfire_cli.training.gang import Gang
from rapidfire_cli.training.layers import KNOB, layer_names
from rapidfire_cli.training.live_run import LiveRun
from rapidfire_cli.training.optimizers import OPTIMIZERS, sections
from rapidfire_cli.training.row_source import stream_in
from rapidfire_cli.training.share import Share
from rapidfire_cli.training.train_config import train_config

GPUS = ("train", "gpus")
ELEMENTWISE = (
    *("Adadelta", "Adagrad", "Adam", "Adamax", "AdamW", "ASGD", "NAdam", "RAdam", "RMSprop", "SGD"),
)
"""The optimizers of torch that update each element by itself, and so can update parts of parameters."""


def gang_findings(leaf: LeafConfig, device: str) -> Iterator[Finding]:
    """Yield what keeps several devices of this type from training a run with this leaf config together."""
    size, its = gang_size(leaf), train_config(leaf)
    if size == 1:
        return
    if layer_names(leaf):
        yield from unshardable(leaf)
    if its.batch_size < size:
        message = f"{size} devices cannot share a batch of {its.batch_size}"
        expected = f"at least {size}, a row for each device"
        yield Finding(0, ("train", "batch_size"), "E416", message, f"{its.batch_size}", expected)
    if its.batch_norm == "sync" and device == "cpu":
        message, hint = "`batch_norm: sync` needs GPUs", "`local` lets each device normalise its own rows"
        yield Finding(0, ("train", "batch_norm"), "E416", message, "sync on the CPU", "local", hint)


def unshardable(leaf: LeafConfig) -> Iterator[Finding]:
    """Yield what keeps a sharded model from being trained."""
    its, hint = train_config(leaf), f"remove `{KNOB}`: each device then holds the whole model"
    for at, section in sections(its.optimizer):
        cls = OPTIMIZERS.find(section["name"])
        if cls is not None and not OPTIMIZERS.is_own(cls) and cls.__name__ not in ELEMENTWISE:
            message = f"{cls.__name__} cannot train a sharded model: it needs whole parameters"
            expected = f"one of {', '.join(ELEMENTWISE)}"
            yield Finding(0, (*at, "name"), "E416", message, section["name"], expected, hint)
    if its.compile:
        message = "a sharded model cannot be compiled"
        yield Finding(0, ("train", "compile"), "E416", message, "true", "false", hint)


def check_shared(leaf: LeafConfig, model: nn.Module, rows: BatchSource, share: Share) -> None:
    """Check that the ranks of a gang can share the run's batches. Raises Failure."""
    if stream_in(rows):
        cause = "the rows of the train split can only be iterated, so several devices cannot share them"
        raise Failure("error", cause, knob=GPUS)
    its, normed = train_config(leaf), first_normalised(model)
    if normed is None:
        return
    if its.batch_norm is None:
        cause = f"`{normed}` normalises over a batch, of which each device has only its own rows"
        hint = "set `train.batch_norm: local` to let each device normalise its own rows, or on GPUs `sync`"
        raise Failure("error", f"{cause}; {hint}", knob=GPUS)
    left = its.kept(len(rows)) % its.batch_size
    if its.batch_norm == "sync" and 0 < left < share.size:
        cause = f"an epoch ends with a batch of {left} rows, of which some device has none to normalise"
        hint = "set `train.drop_last: true`, or another batch_size"
        raise Failure("error", f"{cause}; {hint}", knob=("train", "batch_size"))


def check_alike(run: LiveRun, gang: Gang) -> None:
    """Check that every rank has opened the same run. Raises Failure."""
    mine = _described(run)
    for rank, theirs in enumerate(gang.exchange(mine)):
        if differing := next((name for name in mine if mine[name] != theirs[name]), None):
            cause = f"{differing} differs between the devices (rank {gang.share.rank} and rank {rank})"
            raise Failure("error", f"{cause}; create_model and load_data must do the same in every process")


def _described(run: LiveRun) -> dict[str, Any]:
    return {
        "the code": run.fingerprint.code,
        "the data": run.fingerprint.data,
        "the position": (run.position, run.step, run.steps),
        **{f"`{name}`": _hash(tensor) for name, tensor in run.model.named_parameters()},
    }


def _hash(tensor: Tensor) -> str:
    """Return a hash of the tensor's bytes, or of what is known of one without plain bytes."""
    if is_lazy(tensor):
        return f"{type(tensor).__name__}"
    if is_plain(tensor):
        return hashed(tensor)
    return xxhash.xxh3_128(canonical([f"{tensor.dtype}", [*tensor.shape]]).encode()).hexdigest()
