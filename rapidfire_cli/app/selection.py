"""Runs as people name them: `3`, `3-7`, `best`."""

import re
from collections.abc import Iterator, Sequence

from rapidfire_cli.app.files import argument
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.store.explain import missing
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.store.ranking import ranking

RUN = "RUN"
BEST = "best"

_NUMBERS = re.compile(r"(?P<first>[1-9]\d{0,8})(-(?P<last>[1-9]\d{0,8}))?")


def named_runs(words: Sequence[str], seen: Overview) -> list[RunRow]:
    """The runs, each once, in the order in which they are named.

    Raises Refusal for a word that is none, a run that does not exist, and `best` where no run has a result.
    """
    rows = {row.number: row for row in seen.rows}
    numbers = dict.fromkeys(number for word in words for number in _numbers(word, rows, seen))
    if unknown := [number for number in numbers if number not in rows]:
        raise Refusal([missing(seen, number) for number in unknown])
    return [rows[number] for number in numbers]


def named_run(word: str, seen: Overview) -> RunRow:
    """The one run. Raises Refusal as `named_runs` does, and for several."""
    rows = named_runs([word], seen)
    if len(rows) > 1:
        raise Refusal([_invalid(word, f"{len(rows)} runs where one is expected", "a number (3) or `best`")])
    return rows[0]


def _numbers(word: str, rows: dict[int, RunRow], seen: Overview) -> Iterator[int]:
    found = _NUMBERS.fullmatch(word)
    if word == BEST:
        yield _best(seen)
    elif found is None or int(found["last"] or found["first"]) < int(found["first"]):
        raise Refusal([_invalid(word, "invalid run", "a number (3), a range (3-7) or `best`")])
    elif found["last"]:
        numbers = range(int(found["first"]), int(found["last"]) + 1)
        yield from sorted(rows.keys() & set(numbers)) or [numbers[0]]  # which does not exist
    else:
        yield int(found["first"])


def _best(seen: Overview) -> int:
    ranked = ranking([row for row in seen.rows if row.listed], seen.objective)
    if not ranked or ranked[0].value is None:
        raise Refusal([_invalid(BEST, "no run has a result yet", "a number (3) or a range (3-7)")])
    return ranked[0].row.number


def _invalid(word: str, message: str, expected: str) -> Problem:
    return Problem("E512", message, argument(RUN, word), found=word, expected=expected)
