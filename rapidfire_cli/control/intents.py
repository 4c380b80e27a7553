"""What people want of runs, as far as it may not have come about yet.

A run that trains is stopped at its next optimizer step, and deleted only then. A kill can come first, so what
is still wanted follows from the requests that were taken, and whoever takes the lock next completes it.
"""

from collections.abc import Iterable
from typing import assert_never

from rapidfire_cli.control.decisions import Effect
from rapidfire_cli.facts import RequestTaken
from rapidfire_cli.requests import CloneRun, Delete, Keep, Purge, Release, Restore, Resume, Stop, subject


def intents(taken: Iterable[RequestTaken]) -> dict[int, Effect]:
    """By run: STOP or DELETE, where that was the last thing that people asked for."""
    found: dict[int, Effect] = {}
    for each in taken:
        about = subject(each.request)
        for run in (answer.born or answer.run for answer in each.answers if answer.changed):
            found.pop(run, None)
            match about:
                case Stop():
                    found[run] = Effect.STOP
                case Delete():
                    found[run] = Effect.DELETE
                case Resume() | Restore() | Purge() | Keep() | Release() | CloneRun() | None:
                    pass
                case _:
                    assert_never(about)
    return found
