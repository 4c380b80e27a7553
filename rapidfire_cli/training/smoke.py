"""The smoke test of a leaf config: can it be trained and continued, and which knobs does user code read?

It trains the first batch of an epoch, saves a checkpoint and loads it into a new run. Then both runs train
the epoch's last batch, validate the first and the last batch, and compute the metrics. If their states differ
in any bit, the checkpoint is incomplete: results would depend on which worker continues the run.
"""

import json
from tempfile import TemporaryDirectory

from rapidfire_cli.engine.messages import Assignment, Finding, Smoke, Smoked
from rapidfire_cli.problems import did_you_mean
from rapidfire_cli.terms import TRAIN, VALIDATION
from rapidfire_cli.training import checkpoint, user_code
from rapidfire_cli.training.estimating import too_large
from rapidfire_cli.training.failure import blamed
from rapidfire_cli.training.live_run import LiveRun
from rapidfire_cli.training.loop import train, validate
from rapidfire_cli.training.opening import Shared, opened
from rapidfire_cli.training.state import difference
from rapidfire_cli.training.tracked_config import MissingKnob, Reads, ends, seen, sought

OWN = "user_knobs"


def smoke(order: Smoke, shared: Shared) -> Smoked:
    """Try the leaf config and save nothing; any error of user code becomes a finding.

    `shared` must not cache prepared rows: reads that were made for another run would not be recorded again.
    """
    if order.estimated:
        return Smoked(tuple(too_large(order, shared)))
    leaf = json.loads(order.config)
    reads: Reads = {}
    with TemporaryDirectory() as directory:
        try:
            different = _tried(Assignment(0, order.config, order.seed, directory), shared, reads)
        except BaseException as error:
            return Smoked((_finding(error),))
    if different:
        return Smoked((_unheld(f"{different} after the checkpoint was loaded into a new run"),))
    own = list(ends({OWN: leaf[OWN]})) if leaf.get(OWN) else []
    read = tuple(path for path in own if seen(reads, path))
    unread = tuple(path for path in own if path not in read)
    rows = shared.data.load(order.seed, leaf).count(TRAIN)
    return Smoked((), read, unread, tuple(sought(reads)), rows)


def _tried(assignment: Assignment, shared: Shared, reads: Reads) -> str | None:
    """Describe how a run that continues from the checkpoint differs from the original; None if equal."""
    run = opened(assignment, shared, reads)
    run.enter()
    next(train(run))
    run.leave()
    checkpoint.save(run)
    continued = opened(assignment, shared)
    for each in (run, continued):
        each.enter()
        _end_of_epoch(each)
        each.leave()
    return difference(run, continued)


def _end_of_epoch(run: LiveRun) -> None:
    """Train the epoch's last optimizer step, validate the first and the last batch, compute the metrics."""
    if run.done < run.steps:
        if run.stream is None:  # skipping rows of a stream requires reading them
            run.done = run.steps - 1
        next(train(run))
    if VALIDATION in run.batch_sources:
        rows, size = len(run.batch_sources[VALIDATION]), run.train.eval_batch_size
        for begin in dict.fromkeys((0, (rows - 1) // size * size)):
            next(validate(run, begin))
    run.end_epoch()


def _unheld(found: str) -> Finding:
    hint = "make it a buffer, or plain data on the module; docs/mlspec.md lists what checkpoints save"
    return Finding(0, (), "E432", "a checkpoint cannot save the run's state", found, hint=hint)


def _finding(error: BaseException) -> Finding:
    failure, missing, place = blamed(error), _missing(error), user_code.place(error)
    if failure.kind == "state":
        return _unheld(failure.cause)
    if missing is None:
        return Finding(
            *(0, failure.knob, "E431", "a trial batch failed"),
            found=failure.cause,
            at=place.span if place else None,
            traceback=failure.traceback,
        )
    return Finding(
        *(0, missing.path, "E430", f"`{'.'.join(missing.path)}` is read but never set"),
        found=f"{place or ''}",
        hint=did_you_mean(missing.path[-1], missing.siblings),
        traceback=failure.traceback,
    )


def _missing(error: BaseException | None) -> MissingKnob | None:
    """Return the missing knob that caused an error, if there is one."""
    while error is not None and not isinstance(error, MissingKnob):
        error = error.__cause__ or error.__context__
    return error
