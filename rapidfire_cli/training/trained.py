"""Open a trained run for use: its model after a finished epoch, and what a forward pass needs.

Theory of operation. `kept_epoch` chooses one of the run's checkpoints, whose manifests say how far each run
had trained. `reopened` creates the run's objects with the user's methods, as the executor does when a run
continues, and restores their state from the chosen checkpoint. There is no optimizer, no schedule, and no
data unless the caller passes some. The run may be training at the same time: nothing is written into its
directory, and a checkpoint that is deleted while it is read counts as damaged, so the next one is tried.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rapidfire_cli.durable import publication
from rapidfire_cli.durable.publication import Damaged
from rapidfire_cli.engine.checkpoints import (
    BEST,
    MODEL,
    READABLE,
    STATE,
    Reached,
    epochs_of,
    from_facts,
    newest_first,
    weights_in,
)
from rapidfire_cli.engine.messages import Assignment, Finding, Setup
from rapidfire_cli.facts import EpochEnded, RunOpened
from rapidfire_cli.mlspec import Cfg, MLSpec, Mode
from rapidfire_cli.terms import Epoch
from rapidfire_cli.training import rng, weights
from rapidfire_cli.training.datasets import Loaded
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.frozen import Frozen
from rapidfire_cli.training.live_run import autocast
from rapidfire_cli.training.opening import Shared, made_model, shared, sourced
from rapidfire_cli.training.row_source import Source
from rapidfire_cli.training.settings import ProcessSettings
from rapidfire_cli.training.share import WHOLE, Share
from rapidfire_cli.training.spec import load
from rapidfire_cli.training.state import Origins, origins, unpack_trained
from rapidfire_cli.training.train_config import TrainConfig, train_config

NO_DATA = Loaded({}, {}, None, "{}", {})
ATTEMPTS = 5  # to find a checkpoint that is not being deleted (assumed: each exists for seconds)


class Refused(Exception):  # noqa: N818 - what users read
    """The request cannot be carried out; the finding says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class Kept:
    """The weights of an epoch, and the checkpoint that holds them."""

    checkpoint: Path
    reached: Reached
    weights: Path
    ended: EpochEnded  # the finished epoch of the weights
    is_inside: bool = False  # whether the weights are from within the following epoch

    @property
    def step(self) -> int:
        """The number of optimizer steps that trained the weights."""
        return self.reached.step if self.is_inside else self.ended.step

    @property
    def is_whole(self) -> bool:
        """Whether the rest of the checkpoint was saved at the same step as the weights."""
        return self.weights == weights_in(self.checkpoint, MODEL)


@dataclass(frozen=True, slots=True)
class Trained:
    """The objects of a trained run."""

    train: TrainConfig
    device: torch.device
    source: Source
    spec: MLSpec
    cfg: Cfg
    model: nn.Module
    forward: nn.Module  # the model, compiled if `train.compile` is set
    origins: Origins
    frozen: Frozen
    kept: Kept

    @property
    def share(self) -> Share:
        """All of each batch."""
        return WHOLE

    def compute(self, batch: Any) -> Any:
        """Return what compute_forward returns for a batch."""
        return self.spec.compute_forward(self.forward, batch, self.cfg)

    def autocast(self) -> AbstractContextManager[object]:
        """Return the autocast context of the run's precision."""
        return autocast(self.train, self.device)


def kept_epoch(directory: Path, at: Epoch) -> Kept:
    """Find the weights of the last finished epoch or the best one. Raises Refused, or Failure for damage."""
    damage: dict[str, None] = {}
    for _ in range(ATTEMPTS):
        present = newest_first(directory)
        for kept in _by_merit(present, directory, at):
            try:
                publication.verify(kept.checkpoint)
            except Damaged as damaged:
                damage[str(damaged)] = None
            else:
                return kept
        if present == newest_first(directory):
            break
    if damage:
        raise Failure("checkpoint", f"no usable checkpoint in {directory}: {'; '.join(damage)}")
    raise Refused(_no_epoch(at))


def reopened(
    assignment: Assignment, at: Epoch, known: Shared, mode: Mode, loaded: Loaded = NO_DATA
) -> Trained:
    """Open the run's model of that epoch in evaluation mode. Raises Failure, and what user code raises."""
    kept = kept_epoch(Path(assignment.directory), at)
    source = sourced(assignment, loaded, {}, known, mode)
    its = train_config(source.leaf)
    torch.set_deterministic_debug_mode(its.determinism(known.setup.device))
    model, frozen = made_model(source.spec, source.cfg, assignment.seed, known.device)
    forward: nn.Module = torch.compile(model) if its.compile else model  # type: ignore[assignment]
    made = origins(model, source.spec)
    trained = Trained(
        *(its, known.device, source, source.spec, source.cfg),
        *(model, forward, made, frozen, kept),
    )
    known.settings.unpack(_fill(trained))
    model.eval()
    rng.restore(rng.first(assignment.seed))
    return trained


def reopened_here(setup: Setup, assignment: Assignment, at: Epoch) -> tuple[Trained, RunOpened]:
    """Open the run in this process; return it and the current hashes. Settings and streams are unchanged.

    Raises SpecProblem, Refused, Failure, and what user code raises.
    """
    streams, determinism = rng.capture(), torch.get_deterministic_debug_mode()
    try:
        known = shared(setup, load(setup.mlspec))
        known = replace(known, settings=ProcessSettings())  # of this process, including its streams
        with known.settings.apart():
            trained = reopened(assignment, at, known, "predict")
        return trained, RunOpened(assignment.run, known.code, "{}", known.environment)
    finally:
        rng.restore(streams)
        torch.set_deterministic_debug_mode(determinism)


def _no_epoch(at: Epoch) -> Finding:
    if at == "best":
        hint = "leave out `--at best` to use the last epoch's"
        return Finding(-1, (), "E620", "the weights of the best epoch are not kept", hint=hint)
    hint = "`rapidfire status` shows how far it is; `rapidfire fit FILE` continues it"
    return Finding(-1, (), "E620", "no checkpoint holds a finished epoch", hint=hint)


def _fill(trained: Trained) -> Mapping[str, Any]:
    """Restore the weights and the state; return the settings that training changed. Raises Failure."""
    kept = trained.kept
    state: Mapping[str, Any] = {}
    frozen: Mapping[str, Tensor] = {}
    try:
        if (place := kept.checkpoint / STATE).is_file():
            state = torch.load(place, map_location="cpu", weights_only=True)
            whole = weights_in(kept.checkpoint, MODEL)
            assert whole, "a checkpoint with a state has weights"
            if not kept.is_whole:
                frozen = _copies(trained, state["model"].get("hashes", {}))
            unpack_trained(trained, state, weights.read(whole))
        if not state or not kept.is_whole:
            weights.put(trained.model, kept.weights, frozen)
    except FileNotFoundError as gone:
        raise Failure("checkpoint", f"{gone.filename} was deleted while it was read; try again") from gone
    settings: Mapping[str, Any] = state.get("settings", {})
    return settings


def _copies(trained: Trained, hashes: Mapping[str, str]) -> dict[str, Tensor]:
    """Copy the frozen weights, as created, that training had changed when the checkpoint was saved."""
    changed = trained.frozen.hashes.keys() - hashes.keys()
    return {name: each.detach().clone() for name, each in trained.model.named_parameters() if name in changed}


def _by_merit(checkpoints: list[Path], directory: Path, at: Epoch) -> Iterator[Kept]:
    """Yield the usable weights in the checkpoints, the preferred ones first."""
    known = [(path, reached) for path in checkpoints if (reached := _reached(path)) and reached.epoch]
    if at == "best":
        yield from (kept for path, reached in known if (kept := _best(path, reached, directory)))
        return
    inside = []
    for path, reached in known:
        found, last = weights_in(path, MODEL), _epoch(reached.epoch, reached, directory)
        if not last:
            continue
        if found and last.step == reached.step:
            yield Kept(path, reached, found, last)
        elif found:
            inside.append(Kept(path, reached, found, last, is_inside=True))
    for kept in inside:
        best = _best(kept.checkpoint, kept.reached, directory)
        yield best if best and best.ended == kept.ended else kept


def _best(path: Path, reached: Reached, directory: Path) -> Kept | None:
    """Return the best epoch's weights: in the checkpoint, or beside it if the run is completed."""
    if reached.best is None:
        return None
    ended = _epoch(reached.best.epoch, reached, directory)
    whole = weights_in(path, MODEL) if ended and ended.step == reached.step else None
    found = whole or weights_in(path, BEST) or weights_in(directory, BEST)
    return Kept(path, reached, found, ended) if found and ended else None


def _epoch(number: int, reached: Reached, directory: Path) -> EpochEnded | None:
    """Return the record of a finished epoch; None if it is lost."""
    epochs = reached.history
    if not epochs or number < epochs[0].epoch:
        epochs = epochs_of(directory, reached) or ()
    return next((ended for ended in epochs if ended.epoch == number), None)


def _reached(checkpoint: Path) -> Reached | None:
    """Return the content of the checkpoint's manifest; None if it is damaged or of an unreadable version."""
    try:
        facts = publication.claimed(checkpoint).facts
        return from_facts(facts) if facts.get("format") in READABLE else None
    except (Damaged, KeyError, TypeError, ValueError):
        return None
