"""The live table on a terminal and in a notebook, and the same as a picture."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from time import monotonic
from types import TracebackType
from typing import Self, TextIO, TypeAlias

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live as RichLive
from rich.segment import Segment
from rich.style import Style

from rapidfire_cli.facts import CheckpointDamaged, DevicesChanged, Fact, MemoryGiven
from rapidfire_cli.view.board import Board, fold
from rapidfire_cli.view.columns import LiveColumn, Styled, columns
from rapidfire_cli.view.frame import frame
from rapidfire_cli.view.lines import told

PERIOD = 1 / 8  # seconds between two frames, at least
ECHO = 2  # cells kept free at the right: a terminal echoes Ctrl-C there, and a wrapped line breaks the frame
SHARE = 0.02  # of the controller's time goes into drawing, at most
PAGE = 100, 40  # cells and lines of the table in a notebook (assumed)

Lines: TypeAlias = "list[list[Styled]]"


class Redrawn:
    """An audience that redraws the board; the slower a frame is, the less often."""

    def __init__(
        self,
        board: Board,
        size: Callable[[], tuple[int, int]],
        show: Callable[[Lines], None],
        clock: Callable[[], float] = monotonic,
        lags: Callable[[], bool] = lambda: False,
    ) -> None:
        self._board = board
        self._size = size
        self._show = show
        self._clock = clock
        self._lags = lags
        self._started = self._due = clock()
        self._columns: list[LiveColumn] = []
        self._drawn_for: tuple[int, int, int] | None = None  # width, runs, metrics known

    def tell(self, facts: Sequence[Fact]) -> None:
        """Update the board, and redraw when it is time: the slower a frame, the less often.

        Where the last frame has not been read yet, none is drawn.
        """
        now = self._clock()
        for fact in facts:
            fold(self._board, fact, now)
        if now >= self._due and not self._lags():
            self.draw(now)
            self._due = now + max(PERIOD, (self._clock() - now) / SHARE)

    def draw(self, now: float) -> None:
        """Show the board as it is at this time of the clock."""
        width, height = self._size()
        drawn_for = width, len(self._board.lines), sum(map(len, self._board.known.values()))
        if drawn_for != self._drawn_for:
            self._columns, self._drawn_for = columns(self._board, width), drawn_for
        self._show(frame(self._board, self._columns, now - self._started, width, height))


class Live(Redrawn):
    """At a terminal: redrawn in place until it is left."""

    def __init__(
        self,
        board: Board,
        stream: TextIO,
        clock: Callable[[], float] = monotonic,
        lags: Callable[[TextIO], bool] = lambda _stream: False,
    ) -> None:
        super().__init__(board, self._room, self._update, clock, lambda: lags(stream))
        self._console = Console(file=stream)
        self._live = RichLive(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def tell(self, facts: Sequence[Fact]) -> None:
        """Print warnings above the table."""
        for fact in facts:
            if isinstance(fact, CheckpointDamaged | DevicesChanged | MemoryGiven):
                self._console.print(*told(fact, {}), highlight=False, markup=False)
        super().tell(facts)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _room(self) -> tuple[int, int]:
        width, height = self._console.size
        return width - ECHO, height

    def _update(self, lines: Lines) -> None:
        self._live.update(_Lines(lines), refresh=True)


@contextmanager
def in_notebook(board: Board, replace: Callable[[str], None]) -> Iterator[Redrawn]:
    """In a notebook: `replace` puts HTML in the place of what it showed before; the last frame stays."""
    live = Redrawn(board, lambda: PAGE, lambda lines: replace(_html(lines)))
    try:
        yield live
    finally:
        live.draw(monotonic())


def picture(board: Board, elapsed: float, width: int = 100) -> str:
    """The live table as SVG."""
    lines = frame(board, columns(board, width), elapsed, width, height=10_000)
    return _recorded(lines, width).export_svg(title="rapidfire fit", unique_id="rapidfire")


def _html(lines: Lines) -> str:
    form = '<pre style="line-height: normal">{code}</pre>'
    return _recorded(lines, PAGE[0]).export_html(inline_styles=True, code_format=form)


def _recorded(lines: Lines, width: int) -> Console:
    console = Console(
        record=True,
        file=StringIO(),
        width=width,
        force_terminal=True,
        force_jupyter=False,  # where it would show what it prints
        color_system="truecolor",
    )
    console.print(_Lines(lines))
    return console


class _Lines:
    """Lines of styled texts as rich takes them."""

    def __init__(self, lines: Sequence[Sequence[Styled]]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self._lines:
            for text, style in line:
                yield Segment(text, Style.parse(style))
            yield Segment.line()
