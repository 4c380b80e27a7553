"""A Markdown summary of an experiment, as GitHub shows it on the page of a workflow run."""

from collections.abc import Iterable, Iterator, Sequence

from rapidfire_cli.store.queries import Overview
from rapidfire_cli.store.ranking import measured, ranking
from rapidfire_cli.view.junit import Judged
from rapidfire_cli.view.knob_columns import varied
from rapidfire_cli.view.results import failures, ranking_table
from rapidfire_cli.view.wording import counted

LAST = 100  # bytes reserved for the line with the number of the other lines
MOST = 900_000  # bytes; GitHub drops a summary of more than 1 MiB as a whole


def step_summary(seen: Overview, requirements: Sequence[Judged], room: int = MOST) -> str:
    """The summary, of at most `room` bytes: the requirements, the ranking, the failures."""
    return "".join(_fitting([*_head(seen, requirements), *_failures(seen)], _ranking(seen), room))


def _head(seen: Overview, requirements: Sequence[Judged]) -> Iterator[str]:
    yield f"## {_escaped(seen.metadata.experiment)}: {seen.state}\n\n"
    for one in requirements:
        yield f"- {'✅' if one.met else '❌'} {_escaped(one.text)}\n"
    if requirements:
        yield "\n"


def _failures(seen: Overview) -> Iterator[str]:
    for line in failures(seen.rows, seen.home, known=False):
        yield f"- {_escaped(line)}\n"


def _ranking(seen: Overview) -> list[str]:
    """The table, a line per leaf config, best first."""
    ranked, objective = ranking(seen.rows, seen.objective), seen.objective
    table = ranking_table(ranked, objective, measured(seen.rows, objective.metric), varied(seen))
    titles = _row(column.title for column in table.columns)
    aligned = _row("-:" if column.right else ":-" for column in table.columns)
    return [
        "\n",
        titles,
        aligned,
        *(_row(column.text(place) for column in table.columns) for place in ranked),
    ]


def _fitting(head: Sequence[str], lines: Sequence[str], room: int) -> Iterator[str]:
    """As many lines as fit into `room` bytes, then the number of the others; nothing if neither fits."""
    left = room - LAST
    every = [*head, *lines] if left >= 0 else []
    for place, line in enumerate(every):
        left -= len(line.encode())
        if left < 0:
            yield f"\n{counted(len(every) - place, 'more line')}\n"
            return
        yield line


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |\n"


def _escaped(text: str) -> str:
    """The text in one line, with characters escaped that Markdown or HTML would interpret."""
    plain = text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for sign in "|*_`[]":
        plain = plain.replace(sign, f"\\{sign}")
    return " ".join(plain.split())
