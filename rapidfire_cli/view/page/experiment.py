"""What the page shows and requests, by address: the server answers over HTTP, a notebook's panel by messages.

`app` provides the functions.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from rapidfire_cli.problems import Refusal, render
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.series import packed, packed_times
from rapidfire_cli.terms import Plain
from rapidfire_cli.view.findings import problem_record

Found: TypeAlias = bytes | dict[str, Plain]
"""What the page is answered: packed series, or a document."""

ADDRESSES = (
    *("experiments", "series", "times", "rungs", "importance", "requests"),
    *("runs/{number}", "runs/{number}/why", "runs/{number}/log"),
)
OK = 200


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

    def read(self, home: ExperimentDir, address: str, query: Mapping[str, str]) -> Found:
        """What is at one of `ADDRESSES`; changes nothing. Raises Refused if nothing is there, and Refusal."""
        split, name = query.get("split", ""), query.get("metric", "")
        match address.split("/"):
            case ["experiments"]:
                return {"experiments": [*self.names()]}
            case ["series"]:
                return packed(home.journal, split, name).encoded()
            case ["times"]:
                return packed_times(home.journal).encoded()
            case ["rungs"]:
                return self.rungs(home)
            case ["importance"]:
                return self.importance(home, split, name)
            case ["requests"]:
                return self.requests(home)
            case ["runs", number]:
                return self.run(home, _number(number))
            case ["runs", number, "why"]:
                return self.why(home, _number(number))
            case ["runs", number, "log"]:
                return {"log": self.log(home, _number(number))}
            case _:
                raise Refused(404, "nothing is at this address")


def answered(
    find: Callable[[], ExperimentDir | None], work: Callable[[ExperimentDir], Found]
) -> tuple[int, Found]:
    """What the work found, or a document that says what is wrong, with the HTTP status."""
    try:
        home = find()
        if home is None:
            raise Refused(404, "nothing was trained yet", "start one with `rapidfire fit FILE`")
        return OK, work(home)
    except Refused as refused:
        return refused.status, {"error": refused.text, "hint": refused.hint}
    except Refusal as refusal:
        problems: list[Plain] = [problem_record(each) for each in refusal.problems]
        texts = [render(each) for each in refusal.problems]
        return 422, {"error": "\n\n".join(texts), "problems": problems}
    except json.JSONDecodeError:
        return 400, {"error": "the request is not JSON", "hint": ""}
    except OSError as error:
        return 500, {"error": error.strerror or str(error), "hint": ""}


def _number(text: str) -> int:
    if not (text.isdecimal() and len(text) < 10):
        raise Refused(404, f"`{text[:40]}` is not the number of a run")
    return int(text)
