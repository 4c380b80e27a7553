"""Who watches a `fit`: a program, a person at a terminal, or a log."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from rapidfire_cli.engine.ports import Audience
from rapidfire_cli.view.board import Board
from rapidfire_cli.view.jsonlines import JsonLines
from rapidfire_cli.view.lines import Lines


@contextmanager
def watching(
    board: Board,
    events: TextIO | None,
    progress: TextIO,
    environ: Mapping[str, str],
    lags: Callable[[TextIO], bool] = lambda _stream: False,
) -> Iterator[Audience]:
    """The audience for as long as training lasts: facts as JSON to `events`, else progress for people.

    While the reader of `progress` lags behind, no frames are drawn for it.
    """
    if events is not None:
        yield JsonLines(events)
    elif drawable(progress, environ):
        from rapidfire_cli.view.live import Live

        with Live(board, progress, lags=lags) as live:
            yield live
    else:
        epochs = {line.number: line.epochs for line in board.lines.values()}
        yield Lines(progress, epochs, board.about.chunks)


@contextmanager
def waiting(text: str, stream: TextIO, environ: Mapping[str, str]) -> Iterator[None]:
    """Tell a person at a terminal what is waited for, as long as it is; a log is told nothing."""
    if not drawable(stream, environ):
        yield
        return
    stream.write(f"{text} …")
    stream.flush()
    try:
        yield
    finally:
        stream.write("\r\x1b[K")
        stream.flush()


def drawable(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a table can be redrawn in place there: a terminal that can, watched by a person."""
    utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
    return stream.isatty() and utf8 and not environ.get("CI") and environ.get("TERM") != "dumb"
