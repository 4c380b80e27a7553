"""Use a trained run: evaluate it, predict with it, or export it.

Every error becomes an answer, since the worker has no other task.
"""

from dataclasses import replace
from typing import assert_never

from rapidfire_cli.engine.messages import Assignment, Evaluate, Export, Finding, Predict, Use, Used
from rapidfire_cli.facts import RunOpened
from rapidfire_cli.terms import canonical
from rapidfire_cli.training import fingerprint, user_code
from rapidfire_cli.training.evaluating import evaluate
from rapidfire_cli.training.exporting import export
from rapidfire_cli.training.failure import blamed
from rapidfire_cli.training.opening import Shared, fingerprinted
from rapidfire_cli.training.predicting import NO_LABELS, predict
from rapidfire_cli.training.trained import Refused


def use(order: Use, shared: Shared) -> Used:
    """Carry out the order; an error becomes a finding in the answer."""
    try:
        answer = _carried_out(order, shared)
    except Refused as refused:
        return Used((refused.finding,))
    except BaseException as error:  # anything that user code raises, including SystemExit
        failure = blamed(error)
        if failure.kind == "disk":
            return Used(unavailable=failure.cause)
        return Used((_finding(order, error),))
    return replace(answer, opened=_opened(order, shared), texts=canonical(dict(fingerprint.texts())))


def _carried_out(order: Use, shared: Shared) -> Used:
    match order.task:
        case Evaluate():
            return evaluate(order, order.task, shared)
        case Predict():
            return predict(order, order.task, shared)
        case Export():
            return export(order, order.task, shared)
        case _:
            assert_never(order.task)


def _opened(order: Use, shared: Shared) -> RunOpened:
    """Return the hashes that the run's bits depend on; those of data are empty if none were loaded."""
    if isinstance(order.task, Evaluate):
        return fingerprinted(order.assignment, shared)
    return RunOpened(order.assignment.run, shared.code, "{}", shared.environment)


def _finding(order: Use, error: BaseException) -> Finding:
    failure, place = blamed(error), user_code.place(error)
    return Finding(
        *(-1, (), "E624", f"{_what(order.assignment, order.task)} failed"),
        found=failure.cause,
        hint=NO_LABELS if isinstance(order.task, Predict) and "KeyError: 'label" in failure.cause else "",
        at=place.span if place else None,
        traceback=failure.traceback,
    )


def _what(assignment: Assignment, task: Evaluate | Predict | Export) -> str:
    match task:
        case Evaluate(split):
            return f"evaluating run {assignment.run} on `{split}`"
        case Predict():
            return f"predicting with run {assignment.run}"
        case Export():
            return f"exporting run {assignment.run}"
        case _:
            assert_never(task)
