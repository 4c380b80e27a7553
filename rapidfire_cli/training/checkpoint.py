"""Checkpoints: everything a run needs to continue bit for bit, published whole."""

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor

from rapidfire_cli import durable
from rapidfire_cli.engine.messages import EpochEnded, Metric
from rapidfire_cli.terms import TRAIN, Plain, spoken
from rapidfire_cli.training import rng
from rapidfire_cli.training.failure import Failure, one_line
from rapidfire_cli.training.feeds import moved
from rapidfire_cli.training.run import Run

DIRECTORY = "checkpoints"
MODEL = "model.safetensors"
STATE = "state.pt"
FINAL = "final.safetensors"
KEPT = 2  # the last, and the one before it should the last be damaged


def save(run: Run) -> None:
    """Publish a checkpoint of where the run stands, and let older ones go. Raises Failure."""
    directory = Path(run.assignment.directory) / DIRECTORY
    state = _state(run)
    payload = {
        MODEL: lambda path: save_model(run.model, str(path)),
        STATE: lambda path: torch.save(state, path),
    }
    try:
        durable.publish(directory / _name(run), payload, _facts(run))
        run.durable, run.unsaved = run.position, 0.0
        _prune(directory, _name(run))
    except Exception as error:  # safetensors and torch have their own words for a full disk
        kind = "disk" if isinstance(error, OSError) else "checkpoint"
        raise Failure(kind, f"the checkpoint cannot be written: {one_line(error)}") from error


def restore(run: Run) -> None:
    """Put the run where its newest good checkpoint left it, if it has any. Raises Failure."""
    directory = Path(run.assignment.directory) / DIRECTORY
    present = _published(directory)
    for path in present:
        try:
            _load(run, durable.verify(path))
        except durable.Damaged as damage:
            print(f"rapidfire: a damaged checkpoint is passed over: {damage}", file=sys.stderr)
        else:
            return
    if present:
        raise Failure("checkpoint", f"none of the {len(present)} checkpoints in {directory} is good")


def finish(run: Run) -> None:
    """Give the weights of the run's last checkpoint their place as its result. Raises Failure."""
    home = Path(run.assignment.directory)
    try:
        durable.link(home / DIRECTORY / _name(run) / MODEL, home / FINAL)
    except OSError as error:
        raise Failure("disk", f"{FINAL} cannot be written: {error}") from error


def _prune(directory: Path, newest: str) -> None:
    """Keep the last; what is newer than the newest was damaged and passed over."""
    present = _published(directory)
    kept = [path for path in present if path.name <= newest][:KEPT]
    for path in present:
        if path not in kept:
            durable.remove(path)


def _name(run: Run) -> str:
    return f"step-{run.step:010d}-epoch-{run.epoch:06d}"


def _published(directory: Path) -> list[Path]:
    """The newest first."""
    return sorted(directory.glob("step-*"), reverse=True)


def _facts(run: Run) -> dict[str, Plain]:
    """What can be known without loading torch; the epochs' metrics should the journal not have them."""
    history: list[Plain] = [_told(ended) for ended in run.history]
    return {
        "run": run.assignment.run,
        "epoch": run.epoch,
        "step": run.step,
        "at": run.ticks,
        "history": history,
    }


def _told(ended: EpochEnded) -> Plain:
    metrics: list[Plain] = [[one.split, one.name, spoken(one.value)] for one in ended.metrics]
    return {"epoch": ended.epoch, "step": ended.step, "seconds": ended.seconds, "metrics": metrics}


def _heard(run: int, told: Any) -> EpochEnded:
    metrics = tuple(Metric(split, name, float(value)) for split, name, value in told["metrics"])
    return EpochEnded(run, told["epoch"], told["step"], metrics, told["seconds"])


def _state(run: Run) -> dict[str, Any]:
    return {
        "position": (run.epoch, run.done, run.step),
        "seconds": run.seconds,
        "buffers": _unsaved_buffers(run),
        "optimizer": run.optimizer.state_dict(),
        "scheduler": run.schedule.scheduler.state_dict() if run.schedule else None,
        "scaler": run.scaler.state_dict(),
        "tally": run.tallies[TRAIN].state(),
        "streams": rng.pack(run.streams),
    }


def _load(run: Run, published: durable.Published) -> None:
    state = torch.load(published.path / STATE, map_location="cpu", weights_only=True)
    load_model(run.model, published.path / MODEL, device=str(run.device))
    for name, buffer in _unsaved_buffers(run).items():
        buffer.copy_(state["buffers"][name])
    run.epoch, run.done, run.step = state["position"]
    run.seconds = state["seconds"]
    run.optimizer.load_state_dict(state["optimizer"])
    if run.schedule:
        run.schedule.scheduler.load_state_dict(state["scheduler"])
    run.scaler.load_state_dict(state["scaler"])
    run.tallies[TRAIN].restore(moved(state["tally"], run.device))
    run.streams = rng.unpack(state["streams"])
    run.history = [_heard(run.assignment.run, told) for told in published.facts["history"]]  # type: ignore[union-attr]
    run.durable = run.position


def _unsaved_buffers(run: Run) -> dict[str, Tensor]:
    """Buffers that torch leaves out of a model's state (persistent=False)."""
    saved = run.model.state_dict().keys()
    return {name: buffer for name, buffer in run.model.named_buffers() if name not in saved}
