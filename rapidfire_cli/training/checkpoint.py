"""Checkpoints: everything a run needs to continue bit for bit, published as a whole.

A checkpoint holds the model's weights, the rest of the run's state, and the weights of the best epoch so far.
While a run trains, its newest two checkpoints are kept. After it is completed, `execution.keep` decides what
is kept; the final and the best weights are published beside it under their own names.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rapidfire_cli.durable import disk, publication
from rapidfire_cli.durable.publication import Damaged, Published, Writer
from rapidfire_cli.engine import epoch_log
from rapidfire_cli.engine.checkpoints import (
    BEST,
    FINAL,
    KEPT,
    MODEL,
    ORIGIN,
    READABLE,
    STATE,
    Began,
    Reached,
    epochs_of,
    from_facts,
    name,
    newest_first,
    to_facts,
    weights_in,
)
from rapidfire_cli.engine.epoch_log import NOTHING
from rapidfire_cli.terms import Keep, Plain
from rapidfire_cli.training import weights
from rapidfire_cli.training.failure import Failure, disk_error, guard_own_io, one_line, refused
from rapidfire_cli.training.live_run import LiveRun
from rapidfire_cli.training.log import say
from rapidfire_cli.training.state import packed, packed_rank, packed_ranks, unpack
from rapidfire_cli.training.whole import whole

LAST = 2  # checkpoints kept: the last, and the one before it in case the last is damaged


def save(run: LiveRun) -> None:
    """Publish a checkpoint of the run as it is now and delete outdated ones. Raises Failure.

    In a gang, every rank calls this, and rank 0 publishes.
    """
    ranks = run.gang.exchange(packed_rank(run)) if run.gang else []
    with whole(run) as read:
        if not run.share.leads:
            run.durable, run.unsaved, run.best_weights = run.position, 0.0, None
            return
        _publish(run, read, {"ranks": packed_ranks(ranks)} if ranks else {})
    home = Path(run.assignment.directory)
    run.durable, run.unsaved, run.directories_synced = run.position, 0.0, True
    run.best_weights = weights_in(home / _name(run), BEST)


def _publish(run: LiveRun, read: LiveRun, beside: dict[str, Any]) -> None:
    """Publish a checkpoint of the run, whose tensors are read from `read`. Raises Failure."""
    home = Path(run.assignment.directory)
    try:
        run.logged = epoch_log.log(home, run.history, run.logged)
        if not run.rewound and not run.sharded:
            run.frozen.drop_changed(run.model, run.trusted)
        now = weights.weights(read.model, run.frozen.hashes)
        payload: dict[str, Writer] = {
            **_weights_payload(run, now),
            STATE: partial(_write_state, state={**packed(read, now), **beside}),
        }
        publication.publish(
            home / _name(run),
            payload,
            _facts(run),
            above=[]
            if run.directories_synced
            else [home.parent],  # its creator may have died before syncing it
            outdated=partial(_outdated, home, _name(run), LAST),
        )
    except Failure:
        raise
    except Exception as error:  # safetensors and torch raise their own errors when the disk is full
        if found := disk_error(error):
            raise refused(found) from error
        raise Failure("checkpoint", f"the checkpoint cannot be written: {one_line(error)}") from error


def keep(run: LiveRun) -> None:
    """Mark the checkpoint that was just saved as permanent. Raises Failure."""
    home = Path(run.assignment.directory)
    if not run.share.leads:
        return
    with guard_own_io():
        publication.twin(home / _name(run), home / KEPT / _name(run))


def restore(run: LiveRun) -> None:
    """Restore the run from its newest undamaged checkpoint, if it has any. Raises Failure.

    In a gang, rank 0 chooses the checkpoint, and every rank loads it.
    """
    found = _newest(run) if run.share.leads else None
    if run.gang and (chosen := run.gang.exchange(found and found.path)[0]):
        found = found or publication.verify(chosen)
    origin = Path(run.assignment.directory) / ORIGIN
    if found:
        _load(run, found)
    elif origin.is_dir() and not run.assignment.warm_start:
        _begin_with(run, origin)


def _newest(run: LiveRun) -> Published | None:
    """Return the run's newest undamaged checkpoint; None if it has none at all. Raises Failure."""
    home = Path(run.assignment.directory)
    with guard_own_io():
        publication.sweep(home, alone=True)
    for path in (present := newest_first(home)):
        try:
            return publication.verify(path)
        except Damaged as damage:
            run.damaged.append(str(damage))
    if present:
        raise Failure(
            "checkpoint", f"no usable checkpoint in {home}: all are damaged ({'; '.join(run.damaged)})"
        )
    return None


def _begin_with(run: LiveRun, origin: Path) -> None:
    """Load the epochs of the origin, which differs only in `epochs`, if this run would train them equally."""
    try:
        published = publication.verify(origin)
    except Damaged as damage:
        run.damaged.append(str(damage))
        return
    reached, number = from_facts(published.facts), run.assignment.run
    told = f"rapidfire: trains from scratch, without the epochs of run {reached.run}"
    if reached.epochs_read or run.epochs_read:
        say(f"{told}: the MLSpec reads `train.epochs`")
        return
    if reached.opened != replace(run.fingerprint, run=reached.run):
        say(f"{told}: code, data, packages, device or threads changed")
        return
    _load(run, published)
    run.history = [replace(ended, run=number) for ended in run.history]
    run.began = Began(reached.run, reached.epoch)
    run.durable = (0, 0)  # in its own directory


def finish(run: LiveRun, keep: Keep) -> None:
    """Publish the final weights and the weights of the best epoch. Raises Failure."""
    home = Path(run.assignment.directory)
    last = home / _name(run)
    with guard_own_io():
        final = weights_in(last, MODEL)
        assert final, "a completed run has a checkpoint of its end"
        names = {home / f"{FINAL}{final.suffix}": final, **_best_link(home, last)}
        publication.link(names, _outdated(home, last.name, 1))
        if (
            not run.directories_synced
        ):  # the process that published its last checkpoint may have died before syncing it
            disk.sync(home, home.parent)
        if keep == "weights":
            shared = {final.name: partial(publication.share, home / f"{FINAL}{final.suffix}")}
            publication.publish(last, shared, _facts(run))


def show_best(run: LiveRun) -> None:
    """Publish the best weights of a run that ends early, next to its log. Raises Failure."""
    home = Path(run.assignment.directory)
    with guard_own_io():
        if named := _best_link(home, home / _name(run)):
            publication.link(named)


def _best_link(home: Path, checkpoint: Path) -> dict[Path, Path]:
    """Map the name of the best weights in the run's directory to their file in the checkpoint."""
    found = weights_in(checkpoint, BEST)
    return {home / f"{BEST}{found.suffix}": found} if found else {}


def _weights_payload(run: LiveRun, now: weights.Weights) -> dict[str, Writer]:
    """The writers of the model's weights and of the best epoch's weights.

    The best weights may be the model's own, or already be in the previous checkpoint.
    """
    payload: dict[str, Writer] = {f"{MODEL}{now.suffix}": now.write}
    if run.best is None:
        return payload
    if run.position == (run.best.epoch, 0):
        payload[f"{BEST}{now.suffix}"] = lambda path: publication.share(
            path.with_name(f"{MODEL}{now.suffix}"), path
        )
    elif isinstance(run.best_weights, weights.Weights):
        payload[f"{BEST}{run.best_weights.suffix}"] = run.best_weights.write
    elif run.best_weights:
        payload[run.best_weights.name] = partial(publication.share, run.best_weights)
    return payload


def _write_state(path: Path, state: dict[str, Any]) -> None:
    with disk.create(path) as file:
        torch.save(state, file)


def _outdated(directory: Path, newest: str, last: int) -> list[Path]:
    """The checkpoints to delete: those older than the `last` ones, damaged newer ones, and the origin."""
    present = newest_first(directory)
    kept = [path for path in present if path.name <= newest][:last]
    origin = directory / ORIGIN
    return [path for path in present if path not in kept] + [origin] * origin.is_dir()


def _name(run: LiveRun) -> str:
    return name(run.step, run.epoch)


def _facts(run: LiveRun) -> dict[str, Plain]:
    """Facts that are readable without torch, including the epochs' metrics in case the journal lacks them."""
    number = run.assignment.run
    reached = Reached(
        *(number, run.epoch, run.step, run.ticks, run.chunks, tuple(run.history[run.logged.epochs :])),
        *(run.fingerprint, run.best, run.logged, run.done == 0, run.epochs_read, run.began),
    )
    return {**to_facts(reached), "config": json.loads(run.assignment.config)}


def _load(run: LiveRun, published: Published) -> None:
    """Load the checkpoint into the run.

    Raises Failure if this version cannot use the checkpoint, or if it does not fit the model.
    """
    reached, file = from_facts(published.facts), weights_in(published.path, MODEL)
    if published.facts.get("format") not in READABLE or not file or not (published.path / STATE).is_file():
        cause = (
            f"{published.path} was written by another version of rapidfire, or is kept for its weights only"
        )
        raise Failure("checkpoint", cause)
    state = torch.load(published.path / STATE, map_location="cpu", weights_only=True)
    unpack(run, state, weights.read(file))
    epochs = epochs_of(Path(run.assignment.directory), reached)
    run.history = [*(reached.history if epochs is None else epochs)]
    run.logged = NOTHING if epochs is None else reached.logged
    run.durable = run.position
    run.epochs_were_read, run.began = reached.epochs_read, reached.began
    best, asked = reached.best, run.objective
    if best and asked and (best.metric, best.direction) == (asked.metric, asked.direction):
        run.best, run.best_weights = best, weights_in(published.path, BEST)
