"""Checkpoints: everything a run needs to continue bit for bit, published whole."""

import json
import math
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from rapidfire_cli.durable import disk, publication
from rapidfire_cli.durable.faults import passing
from rapidfire_cli.durable.publication import MANIFEST, Damaged, Published
from rapidfire_cli.engine.checkpoints import (
    DIRECTORY,
    FINAL,
    MODEL,
    STATE,
    Reached,
    from_facts,
    name,
    newest_first,
    to_facts,
)
from rapidfire_cli.engine.messages import by_split, reading
from rapidfire_cli.terms import Objective
from rapidfire_cli.training.failure import Failure, disk_error, keeping, one_line, refused
from rapidfire_cli.training.run import Run
from rapidfire_cli.training.state import packed, unpack

LAST = 2  # checkpoints kept: the last, and the one before it should the last be damaged


def save(run: Run, objective: Objective | None) -> None:
    """Publish a checkpoint of where the run stands, and let older ones go. Raises Failure."""
    directory = Path(run.assignment.directory) / DIRECTORY
    state = packed(run)
    payload = {
        MODEL: lambda path: _write_weights(path, run.model),
        STATE: lambda path: _write_state(path, state),
    }
    try:
        publication.publish(
            directory / _name(run),
            payload,
            to_facts(_reached(run)),
            above=_unanchored(run),
            outdated=partial(_outdated, directory, _name(run), objective),
        )
        run.durable, run.unsaved, run.anchored = run.position, 0.0, True
    except Exception as error:  # safetensors and torch have their own words for a full disk
        if found := disk_error(error):
            raise refused(found) from error
        raise Failure("checkpoint", f"the checkpoint cannot be written: {one_line(error)}") from error


def restore(run: Run) -> None:
    """Put the run where its newest good checkpoint left it, if it has any. Raises Failure."""
    home = Path(run.assignment.directory)
    directory = home / DIRECTORY
    with keeping():
        disk.make_directory(directory, below=home, lasting=False)
        publication.sweep(directory)
    for path in (present := newest_first(directory)):
        try:
            _load(run, publication.verify(path))
        except Damaged as damage:
            run.damaged.append(str(damage))
        else:
            return
    if present:
        raise Failure(
            "checkpoint", f"none of the {len(present)} checkpoints in {directory} is good: {run.damaged[0]}"
        )


def finish(run: Run) -> None:
    """Give the weights of the run's last checkpoint their place as its result. Raises Failure."""
    home = Path(run.assignment.directory)
    with keeping():
        publication.link(home / DIRECTORY / _name(run) / MODEL, home / FINAL)
        if not run.anchored:  # whoever published its last checkpoint may have died before that was durable
            disk.sync(home / DIRECTORY, home.parent)


def _unanchored(run: Run) -> list[Path]:
    """The directories above the checkpoints that may not be durable; whoever made them may be dead."""
    home = Path(run.assignment.directory)
    return [] if run.anchored else [home, home.parent]


def _write_weights(path: Path, model: nn.Module) -> None:
    passing("write", path)
    save_model(model, str(path))


def _write_state(path: Path, state: dict[str, Any]) -> None:
    with disk.create(path) as file:
        torch.save(state, file)


def _outdated(directory: Path, newest: str, objective: Objective | None) -> list[Path]:
    """All but the last and the best; what is newer than the newest was damaged and passed over."""
    present = newest_first(directory)
    good = [path for path in present if path.name <= newest]
    kept = {*good[:LAST], *_best(good, objective)}
    return [path for path in present if path not in kept]


def _best(paths: Iterable[Path], objective: Objective | None) -> list[Path]:
    """The newest of the best among checkpoints taken at an epoch's end; none where nothing was measured."""
    if objective is None:
        return []
    sign = 1 if objective.direction == "max" else -1
    worth = {path: sign * value for path in paths if (value := _value(path, objective.metric)) is not None}
    return [max(worth, key=lambda path: (worth[path], path.name))] if worth else []


def _value(path: Path, metric: str) -> float | None:
    """The metric's value in the epoch that ends where the checkpoint stands."""
    try:
        reached = from_facts(json.loads((path / MANIFEST).read_bytes())["facts"])
        (*_, last) = reached.history
        if last.step != reached.step:
            return None
        splits = by_split(last.metrics)
        split, key = reading(splits, metric)
        value = splits[split][key]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if math.isnan(value) else value


def _name(run: Run) -> str:
    return name(run.step, run.epoch)


def _reached(run: Run) -> Reached:
    """What can be known without loading torch; the epochs' metrics should the journal not have them."""
    number = run.assignment.run
    return Reached(number, run.epoch, run.step, run.ticks, run.chunks, tuple(run.history), run.fingerprint)


def _load(run: Run, published: Published) -> None:
    state = torch.load(published.path / STATE, map_location="cpu", weights_only=True)
    load_model(run.model, published.path / MODEL, device=str(run.device))
    unpack(run, state)
    run.history = list(from_facts(published.facts).history)
    run.durable = run.position
