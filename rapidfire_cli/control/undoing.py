"""Undo: the request that reverts a person's last one."""

from collections.abc import Sequence
from typing import assert_never

from rapidfire_cli.facts import RequestTaken
from rapidfire_cli.requests import (
    AboutRuns,
    CloneRun,
    Delete,
    Keep,
    Purge,
    Release,
    Restore,
    Resume,
    Stop,
    subject,
)


def undone(taken: Sequence[RequestTaken], uid: int) -> AboutRuns | str:
    """What reverts the last request of this user that changed something, or why nothing does."""
    own = [place for place, each in enumerate(taken) if each.request.uid == uid and _changed(each)]
    if not own:
        return "you have not changed anything"
    last = taken[own[-1]]
    runs = _changed(last)
    later = {run for each in taken[own[-1] + 1 :] for run in _changed(each)}
    if overtaken := sorted(later.intersection(runs)):
        return f"someone else has changed run {overtaken[0]} since"
    match subject(last.request):
        case Stop():
            return Resume(runs)
        case Resume():
            return Stop(runs)
        case Delete():
            return Restore(runs)
        case Restore():
            return Delete(runs)
        case CloneRun():
            return Delete(runs)
        case Keep():
            return Release(runs)
        case Release():
            return Keep(runs)
        case Purge():
            return "purged runs cannot be restored"
        case None:
            raise AssertionError("an undo that changed something means something")
        case about:
            assert_never(about)


def _changed(taken: RequestTaken) -> tuple[int, ...]:
    """The runs that the request changed or made."""
    return tuple(answer.born or answer.run for answer in taken.answers if answer.changed)
