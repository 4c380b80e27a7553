"""The two lines above the table: the experiment, its runs by state, how far they are."""

import math
from collections import Counter

from rich.cells import cell_len
from rich.text import Text

from rapidfire_cli.problems import visible
from rapidfire_cli.store.queries import experiment_state
from rapidfire_cli.terms import UNFINISHED, RunState
from rapidfire_cli.view.columns import bar
from rapidfire_cli.view.signs import BEST, SIGNS, STYLES
from rapidfire_cli.view.top.watched import Watched, valued
from rapidfire_cli.view.wording import metric_text


def head(known: Watched, best: frozenset[int], width: int) -> Text:
    """Two lines of `width` cells."""
    return Text("\n").join((_title(known, best, width), _progress(known, width)))


def _title(known: Watched, best: frozenset[int], width: int) -> Text:
    rows = [*known.rows.values()]
    states = Counter(known.state_of(row) for row in rows)
    state = experiment_state(rows, known.alive)
    line = Text.assemble(
        (f" {visible(known.seen.metadata.experiment)} ", "bold reverse"),
        " ",
        (f"{SIGNS[state]} {state}", f"bold {STYLES[state]}"),
        "  ",
    )
    for each in RunState:
        if states[each]:
            line.append(f"{states[each]:,} {each} ", STYLES[each])
    found = _best(known, best)
    room = width - cell_len(line.plain) - cell_len(found.plain)
    if room < 0:
        line.truncate(width - cell_len(found.plain) - 1, overflow="ellipsis")
    line.append(" " * max(room, 1))
    line.append_text(found)
    return line


def _best(known: Watched, best: frozenset[int]) -> Text:
    if not best:
        return Text()
    number = min(best)
    objective = known.seen.objective
    value = valued(known.rows[number], *known.measured, objective.at)
    text = f"{BEST} run {number}  {visible(objective.metric)} {metric_text(value)} "
    return Text(text, "bold yellow")


def _progress(known: Watched, width: int) -> Text:
    """The epochs that are trained, of those that are still wanted."""
    done = whole = 0
    for row in known.rows.values():
        done += row.epoch
        wanted = row.state in UNFINISHED or row.state is RunState.COMPLETED
        whole += row.epochs if wanted else row.epoch
    share = done / whole if whole else 1.0
    count = f" {done:,}/{whole:,} epochs {math.floor(100 * share):3} % "
    line = Text(" ")
    for text, style in bar(share, max(width - len(count) - 1, 4), "green" if share == 1 else "cyan"):
        line.append(text, style)
    return line.append(count)
