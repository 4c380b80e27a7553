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
    """The runs, each once, in the order of the words. Raises Refusal, also if one does not exist."""
    rows = {row.number: row for row in seen.rows}
    numbers = dict.fromkeys(named_numbers(words, seen))
    if unknown := [number for number in numbers if number not in rows]:
        raise Refusal([missing(seen, number) for number in unknown])
    return [rows[number] for number in numbers]


def named_run(word: str, seen: Overview) -> RunRow:
    """The one run. Raises Refusal as `named_runs` does, and for several."""
    rows = named_runs([word], seen)
    if len(rows) > 1:
        message = f"`{word}` is {len(rows)} runs where one is expected"
        raise Refusal([invalid_selection(RUN, word, message, "a number (3) or `best`")])
    return rows[0]


def named_numbers(words: Sequence[str], seen: Overview) -> Iterator[int]:
    """The numbers of the runs, which may not exist. Raises Refusal for a word that says none."""
    known = {row.number for row in seen.rows}
    for word in words:
        found = _NUMBERS.fullmatch(word)
        if word == BEST:
            yield _best(seen)
        elif found is None or int(found["last"] or found["first"]) < int(found["first"]):
            expected = "a number (3), a range (3-7) or `best`"
            raise Refusal([invalid_selection(RUN, word, f"invalid selection of runs `{word}`", expected)])
        elif found["last"]:
            numbers = range(int(found["first"]), int(found["last"]) + 1)
            yield from sorted(known.intersection(numbers)) or [numbers[0]]
        else:
            yield int(found["first"])


def invalid_selection(option: str, text: str, message: str, expected: str) -> Problem:
    """The problem of an argument that does not say which runs are meant."""
    return Problem("E516", message, argument(option, text), expected=expected)


def _best(seen: Overview) -> int:
    ranked = ranking([row for row in seen.rows if row.listed], seen.objective)
    if not ranked or ranked[0].value is None:
        message = "no run is the best yet: none has a result"
        raise Refusal([invalid_selection(RUN, BEST, message, "a number (3) or a range (3-7)")])
    return ranked[0].row.number
