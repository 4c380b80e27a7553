"""Evaluate a trained run on a split, with the same code as validation during training."""

import json
from dataclasses import replace

from rapidfire_cli.engine.messages import Evaluate, Finding, Use, Used
from rapidfire_cli.facts import Metric
from rapidfire_cli.problems import did_you_mean
from rapidfire_cli.terms import LOSS, Split
from rapidfire_cli.training import metrics
from rapidfire_cli.training.loop import score
from rapidfire_cli.training.opening import Shared, epoch_metrics, own_metrics
from rapidfire_cli.training.returned import returned_names
from rapidfire_cli.training.trained import Refused, Trained, reopened


def evaluate(order: Use, task: Evaluate, shared: Shared) -> Used:
    """Return the loss and the metrics over the split. Raises Refused, Failure, and what user code raises."""
    leaf = json.loads(order.assignment.config)
    loaded = shared.data.load(order.assignment.seed, leaf)
    if task.split not in loaded.splits:
        raise Refused(_no_split(task.split, [*loaded.splits]))
    trained = reopened(order.assignment, order.at, shared, "evaluate", loaded)
    values, rows = _values(trained, task, shared)
    return Used(
        epoch=trained.kept.ended.epoch,
        step=trained.kept.step,
        is_inside=trained.kept.is_inside,
        metrics=tuple(Metric(task.split, name, value) for name, value in values.items()),
        rows=rows,
    )


def _values(trained: Trained, task: Evaluate, shared: Shared) -> tuple[dict[str, float], int]:
    """Return each metric's value, and the number of rows."""
    own = own_metrics(trained.spec, trained.source.cfg, trained.train)
    usual = (LOSS, *trained.train.named_metrics, *own)
    returned = returned_names(shared.spec)
    asked = tuple(name for name in task.metrics if name not in (*usual, *(returned or ())))
    more = tuple(name for name in asked if metrics.known(name))
    if returned is not None and (strange := [name for name in asked if name not in more]):
        raise Refused(_no_metric(strange[0], (*usual, *returned)))
    named = (*trained.train.named_metrics, *more)
    its = replace(trained.train, named_metrics=named, on_nan="continue")
    feed = shared.rows.batch_source(task.split, trained.source, shared.spec)
    total = epoch_metrics(its, own, trained.source, trained.model, shared, [task.split])[task.split]
    for _ in score(trained, feed, its.eval_batch_size, total, trained.kept.step):
        if strange := [name for name in task.metrics if name not in total.names]:
            raise Refused(_no_metric(strange[0], total.names))
    return total.values(), len(feed)


def _no_split(split: Split, present: list[Split]) -> Finding:
    return Finding(
        *(-1, (), "E621", f"the data have no split `{split}`"),
        expected=f"one of {', '.join(present)}",
        hint=did_you_mean(split, present),
    )


def _no_metric(name: str, usual: tuple[str, ...]) -> Finding:
    return Finding(
        *(-1, (), "E420", f"unknown metric `{name}`"),
        expected=f"one of {', '.join(usual)}, or {metrics.OFFERED}",
        hint=metrics.close_to(name, usual),
    )
