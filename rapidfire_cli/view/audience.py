"""Who watches a `fit`: a program, a person at a terminal, or a log."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TextIO

from rapidfire_cli.engine.ports import Audience
from rapidfire_cli.facts import Fact
from rapidfire_cli.store.facts import body, kind
from rapidfire_cli.view.board import Board
from rapidfire_cli.view.formats import json_line
from rapidfire_cli.view.lines import Lines


@contextmanager
def watching(
    board: Board,
    events: TextIO | None,
    progress: TextIO,
    environ: Mapping[str, str],
    lags: Callable[[TextIO], bool] = lambda _stream: False,
) -> Iterator[Audience]:
    """The audience during training: JSON lines to `events`, or progress for people.

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
        yield Lines(progress, epochs, board.metadata.chunks)


@contextmanager
def shielded(
    people: AbstractContextManager[Audience], passing: tuple[type[Exception], ...]
) -> Iterator[Audience]:
    """Wrap an audience so that its first error prints one line and drops it, and never ends training.

    Errors of the kinds `passing` are raised.
    """
    stack, shield = ExitStack(), Shield(passing)
    with shield:
        shield.audience = stack.enter_context(people)
    try:
        yield shield
    finally:
        with shield:
            stack.close()


class Shield:
    """Passes facts on until the audience fails; as a context manager it drops the audience at an error."""

    def __init__(self, passing: tuple[type[Exception], ...]) -> None:
        self.audience: Audience | None = None
        self._passing = passing

    def tell(self, facts: Sequence[Fact]) -> None:
        """Pass the facts on, unless the audience was dropped."""
        with self:
            if self.audience:
                self.audience.tell(facts)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception) or isinstance(error, self._passing):
            return False
        self.audience = None
        cause = f"{type(error).__name__}: {error}".rstrip(": ")
        print(f"warning: progress display failed, training continues: {cause}", file=sys.stderr)
        return True


@contextmanager
def waiting(text: str, stream: TextIO, environ: Mapping[str, str]) -> Iterator[None]:
    """Show on a terminal what is being waited for; print nothing to a log."""
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


class JsonLines:
    """An audience of programs: writes JSON lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def tell(self, facts: Sequence[Fact]) -> None:
        """Write one object per fact: `{"event": "epoch_ended", "run": 3, …}`."""
        self._stream.writelines(f"{json_line({'event': kind(fact), **body(fact)})}\n" for fact in facts)
        self._stream.flush()
