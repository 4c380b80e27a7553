"""The functions through which the app reads about runs and sends requests; slow, so threads call them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rapidfire_cli.requests import Answer, Ask, CloneRun
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.view.tables import Table


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a request."""

    answers: Sequence[Answer]
    live: bool = True  # whether a fit that is running answered
    trouble: str = ""  # why there is no answer


Part: TypeAlias = "str | Table[Any]"


@dataclass(frozen=True, slots=True)
class Desk:
    """Functions that the verb `top` provides."""

    why: Callable[[Overview, int], Sequence[str]]  # sentences about a run
    page: Callable[[Overview, int], Iterable[Part]]  # all that is known of a run
    check: Callable[[CloneRun], str]  # the problems of a clone as a file's are shown; empty if none
    send: Callable[[Ask], Sent] | None  # None where nothing may be asked
    options: str = ""  # by which commands find the experiment: `-e digits`
