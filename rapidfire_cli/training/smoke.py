"""One batch of a leaf config, trained to see whether it can be, and which knobs the user's code reads."""

import json
from tempfile import TemporaryDirectory

from rapidfire_cli.engine.messages import Assignment, Finding, Smoke, Smoked
from rapidfire_cli.problems import did_you_mean
from rapidfire_cli.terms import TRAIN, VALIDATION
from rapidfire_cli.training import user_code
from rapidfire_cli.training.failure import blamed
from rapidfire_cli.training.knobs import MissingKnob, Reads, ends, seen, sought
from rapidfire_cli.training.loop import train, validate
from rapidfire_cli.training.opening import Shared, opened
from rapidfire_cli.training.run import Run

OWN = "user_knobs"


def smoke(order: Smoke, shared: Shared) -> Smoked:
    """Train a batch and forget it; whatever user code does is a finding.

    What runs share must keep no prepared rows: reads that were made for another run would not be noted again.
    """
    leaf = json.loads(order.config)
    reads: Reads = {}
    with TemporaryDirectory() as directory:
        try:
            _first_batch(opened(Assignment(0, order.config, order.seed, directory), shared, reads))
        except BaseException as error:
            return Smoked((_finding(error),))
    own = list(ends({OWN: leaf[OWN]})) if leaf.get(OWN) else []
    read = tuple(path for path in own if seen(reads, path))
    unread = tuple(path for path in own if path not in read)
    rows = len(shared.data.load(order.seed, leaf).splits[TRAIN])
    return Smoked((), read, unread, tuple(sought(reads)), rows)


def _first_batch(run: Run) -> None:
    """An optimizer step, a validation batch, and the metrics over both."""
    run.enter()
    next(train(run))
    if VALIDATION in run.feeds:
        next(validate(run))
    run.end_epoch()


def _finding(error: BaseException) -> Finding:
    failure, missing, place = blamed(error), _missing(error), user_code.place(error)
    if missing is None:
        return Finding(
            *(0, failure.knob, "E431", "the first batch fails"),
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
    """The missing knob behind an error, if there is one."""
    while error is not None and not isinstance(error, MissingKnob):
        error = error.__cause__ or error.__context__
    return error
