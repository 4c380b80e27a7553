"""The functions that the page's server calls for data and requests; `app` provides them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import Plain


class Refused(Exception):  # noqa: N818 - what became of it
    """A request that could not be carried out: the HTTP status, the error and a hint."""

    def __init__(self, status: int, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.status, self.text, self.hint = status, text, hint


@dataclass(frozen=True, slots=True)
class Experiment:
    """Functions for everything that the page shows and requests; each may raise Refusal."""

    find: Callable[[str], ExperimentDir | None]  # by name, "" for the first one; None while there is none
    names: Callable[[], list[str]]  # of the experiments in the same directory
    run: Callable[[ExperimentDir, int], dict[str, Plain]]
    why: Callable[[ExperimentDir, int], dict[str, Plain]]
    log: Callable[[ExperimentDir, int], str]
    rungs: Callable[[ExperimentDir], dict[str, Plain]]
    requests: Callable[[ExperimentDir], dict[str, Plain]]
    importance: Callable[[ExperimentDir, str, str], dict[str, Plain]]  # for a split and a metric
    ask: Callable[[ExperimentDir, Any], dict[str, Plain]]  # raises Refused, too
