"""The live table as a pure function of the board, the time and the terminal's size.

Lines of (text, style) pairs, cheap enough to be built several times a second beside training.
"""

import heapq
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice, repeat
from operator import itemgetter

from rich.cells import cell_len

from rapidfire_cli.facts import reading
from rapidfire_cli.store.ranking import sort_key
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.board import UNFINISHED_STATES, Board, Line
from rapidfire_cli.view.columns import GAP, LiveColumn, Styled, bar, fitted
from rapidfire_cli.view.signs import BEST, STYLES
from rapidfire_cli.view.wording import counted, duration_text

HEAD = 4  # lines above the first row
FAILURES = 10  # lines of the terminal for every cause that is shown


def frame(
    board: Board, columns: Sequence[LiveColumn], elapsed: float, width: int, height: int
) -> list[list[Styled]]:
    """What a terminal of `width` by `height` cells shows `elapsed` seconds after the start."""
    failures = list(_failures(board, width, height // FAILURES))
    room = height - HEAD - len(failures) - 1  # the cursor stands on a line of its own
    body = _body(board, columns, room)
    title, overall = _title(board, elapsed, width), list(_overall(board, width))
    return [title, overall, [], _heads(columns), *islice(body, max(room, 0)), *failures]


def time_left(board: Board) -> float | None:
    """Seconds until everything is trained, judged by the epochs seen so far; None before the first.

    What turns take beside their epochs counts: opening runs, saving them, the way between two turns.
    """
    lines = board.lines.values()
    timed = sum(line.timed for line in lines)
    if not timed or not board.workers:
        return None
    usual = sum(line.seconds for line in lines) / timed
    beside = max(_whole_epoch(board) - usual, 0.0)
    left = [_seconds_left(board, line, usual, beside) for line in lines if line.state in UNFINISHED_STATES]
    return max(sum(left) / len(board.workers), max(left, default=0.0))


def _whole_epoch(board: Board) -> float:
    """The seconds of a slot that an epoch took, all in all, as far as turns have ended."""
    spent = sum(last - first for first, last in board.spans.values())
    return spent * board.metadata.chunks / board.ticks if board.ticks else 0.0


def _seconds_left(board: Board, line: Line, usual: float, beside: float) -> float:
    pace = beside + (line.seconds / line.timed if line.timed else usual)
    return pace * (line.epochs - line.at / board.metadata.chunks)


def _title(board: Board, elapsed: float, width: int) -> list[Styled]:
    workers = counted(len(board.workers), "worker") if board.workers else "starting workers"
    left = time_left(board)
    clock = duration_text(elapsed) + (f" · about {duration_text(left)} left" if left else "")
    name, rest = board.metadata.experiment, f" · {counted(len(board.lines), 'run')} · {workers}"
    return [(name, "bold"), (fitted(rest, width - len(name) - len(clock)), "dim"), (clock, "")]


def _overall(board: Board, width: int) -> Iterator[Styled]:
    """The overall progress; epochs that early stopping saved are not counted."""
    lines, chunks = board.lines.values(), board.metadata.chunks
    done = sum(line.at for line in lines)
    whole = sum(line.epochs * chunks if _goes_on(line) else line.at for line in lines)
    share = done / whole if whole else 1.0
    count = f" {done // chunks}/{whole // chunks} epochs {math.floor(100 * share):3} %"
    yield from bar(share, width - len(count), "green" if share == 1 else "cyan")
    yield count, ""


def _goes_on(line: Line) -> bool:
    return line.state in UNFINISHED_STATES or line.state is RunState.COMPLETED


def _heads(columns: Sequence[LiveColumn]) -> list[Styled]:
    return [(f"{GAP}{GAP.join(column.head for column in columns)}", "dim")]


def _row(line: Line, columns: Sequence[LiveColumn], best: int | None) -> list[Styled]:
    cells: list[Styled] = [(BEST + " ", "bold yellow") if line.number == best else (GAP, "")]
    for index, column in enumerate(columns):
        if index:
            cells.append((GAP, ""))
        cells.extend(column.draw(line))
    return cells


def _body(board: Board, columns: Sequence[LiveColumn], room: int) -> Iterator[list[Styled]]:
    """All runs in order where there is room; else those that train, the best and those that just ended."""
    best = _best(board, max(1, room))
    mark = best[0].number if best else None
    if len(board.lines) <= room:
        yield from (_row(line, columns, mark) for line in board.lines.values())
        return
    for title, lines in filter(itemgetter(1), _sections(board, best, room - 1)):
        yield [(f"{GAP}{title}", "dim italic")]
        yield from (_row(line, columns, mark) if line else [] for line in lines)
    yield [(f"{GAP}{_census(board)}", "dim")]


def _sections(board: Board, best: Sequence[Line], room: int) -> Iterator[tuple[str, Sequence[Line | None]]]:
    """One row per worker, so that rows do not jump between turns, and half of the rest for the best."""
    places = min(len(board.workers), room // 3)
    training = sorted((line for line in board.lines.values() if line.training), key=_slot)
    yield "training", [*training, *repeat(None, places)][:places]
    rest = max(room - places - 3, 0)
    ended = [board.lines[run] for run in reversed(board.ended[-(rest // 2) :])] if rest > 1 else []
    yield "best so far", best[: rest - len(ended)]
    yield "just ended", ended


def _census(board: Board) -> str:
    states = Counter(line.state for line in board.lines.values())
    return " · ".join(f"{states[state]:,} {state}" for state in RunState if states[state])


def _best(board: Board, count: int) -> list[Line]:
    """The runs that have a value to be ranked by, best first."""
    split, name = reading(board.known, board.metadata.objective.metric)
    direction = board.metadata.objective.direction
    merits = (
        (sort_key(line.state, line.metrics.get(split, {}).get(name), direction), line.number)
        for line in board.lines.values()
    )
    return [board.lines[run] for (rank, _), run in heapq.nsmallest(count, merits) if rank == 0]


def _failures(board: Board, width: int, most: int) -> Iterator[list[Styled]]:
    failed = (run for run in reversed(board.ended) if board.lines[run].state is RunState.FAILED)
    for run in islice(failed, most):
        text = f"{GAP}run {run} failed: {board.lines[run].cause}"
        yield [(fitted(text, min(width, cell_len(text))), STYLES[RunState.FAILED])]


def _slot(line: Line) -> int:
    return line.slot or 0
