"""One batch of a leaf config, trained to see whether it can be, and which knobs the user's code reads."""

import inspect
import json
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory

from rapidfire_cli.engine.messages import Assignment, Finding, Smoke, Smoked
from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.problems import did_you_mean
from rapidfire_cli.terms import VALIDATION
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
            return Smoked((_finding(error, shared.spec),))
    own = list(ends({OWN: leaf.get(OWN, {})}))
    read = tuple(path for path in own if seen(reads, path))
    return Smoked((), read, tuple(path for path in own if path not in read), tuple(sought(reads)))


def _first_batch(run: Run) -> None:
    """An optimizer step, a validation batch, and the metrics over both."""
    run.enter()
    next(train(run))
    if VALIDATION in run.feeds:
        next(validate(run))
    run.end_epoch()


def _finding(error: BaseException, spec: type[MLSpec]) -> Finding:
    cause = blamed(error).cause
    missing = _missing(error)
    if missing is None:
        return Finding(0, (), "E431", "the first batch fails", cause, hint=_where(error, spec))
    return Finding(
        *(0, missing.path, "E430", f"`{'.'.join(missing.path)}` is read but never set"),
        found=_where(error, spec),
        hint=did_you_mean(missing.path[-1], missing.siblings),
    )


def _missing(error: BaseException | None) -> MissingKnob | None:
    """The missing knob behind an error, if there is one."""
    while error is not None and not isinstance(error, MissingKnob):
        error = error.__cause__ or error.__context__
    return error


def _where(error: BaseException, spec: type[MLSpec]) -> str:
    """The last place in the MLSpec's module on the error's way: `specs/digits.py:40, in create_model`."""
    module = inspect.getsourcefile(spec)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == module]
    if not frames:
        return ""
    path = Path(frames[-1].filename)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{shown}:{frames[-1].lineno}, in {frames[-1].name}"
