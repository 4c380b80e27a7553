"""The table of runs: draws the lines that are on the screen and no others."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from rapidfire_cli.store.queries import RunRow
from rapidfire_cli.view.columns import GAP, fitted
from rapidfire_cli.view.signs import BEST
from rapidfire_cli.view.top.columns import RunColumn

MARK = "■"
LEAD = 3  # cells before the first column: whether the run is marked, and the best one
WIDEST = 24  # cells of a column (assumed)
NO_MARKS: Mapping[int, str] = MappingProxyType({})
AHEAD = 32  # rows whose cells decide how wide a column is at first (assumed: a screen)


class RunTable(ScrollView, can_focus=True):
    """Rows of runs under a line of titles, with a cursor and marks."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"run-table--titles", "run-table--cursor", "run-table--sorted"}
    DEFAULT_CSS = """
    RunTable { overflow-x: hidden; background: $surface; scrollbar-size-vertical: 1; }
    RunTable > .run-table--titles { color: $text-muted; text-style: bold; background: $panel; }
    RunTable > .run-table--sorted { color: $accent; text-style: bold; background: $panel; }
    RunTable > .run-table--cursor { background: $primary 30%; }
    RunTable:focus > .run-table--cursor { background: $primary 55%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "up", show=False),
        Binding("down", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home", "move(-1000000000)", "first run", show=False),
        Binding("end", "move(1000000000)", "last run", show=False),
        Binding("left", "shift(-1)", "columns to the left", show=False),
        Binding("right", "shift(1)", "columns to the right", show=False),
    ]

    @dataclass
    class Moved(Message):
        """The cursor is on another run, or on none."""

        run: int | None

    @dataclass
    class TitleChosen(Message):
        """The title of a column was clicked."""

        title: str

    def __init__(self) -> None:
        super().__init__(id="runs")
        self._marked: Mapping[int, str] = {}
        self._training: frozenset[int] | None = None
        self._rows: Sequence[RunRow] = ()
        self._places: dict[int, int] = {}  # by run
        self._columns: Sequence[RunColumn] = ()
        self._widths: list[int] = []
        self._best: frozenset[int] = frozenset()
        self._sorted: tuple[str, bool] = ("", False)
        self._cursor = 0
        self._first = 0  # of the columns that are not fixed

    @property
    def run(self) -> int | None:
        """The run under the cursor."""
        return self._rows[self._cursor].number if self._rows else None

    @property
    def runs(self) -> list[int]:
        """All that are shown, in order."""
        return [row.number for row in self._rows]

    def show(
        self,
        rows: Sequence[RunRow],
        columns: Sequence[RunColumn],
        best: Iterable[int],
        by: tuple[str, bool],
        marked: Mapping[int, str] = NO_MARKS,
        training: frozenset[int] | None = None,
    ) -> None:
        """Show these rows; the cursor stays on its run. `by` is the title sorted by, and if downwards.

        `marked` are runs and the styles of their marks. `training` are those that train now, None where no
        process trains. Lines whose row and state are the same objects as before are not drawn again.
        """
        run, before = self.run, self._rows
        if [column.title for column in columns] != [column.title for column in self._columns]:
            self._widths = [cell_len(column.title) + 1 for column in columns]
        best, marked, now = frozenset(best), dict(marked), training or frozenset()
        is_same = columns is self._columns and len(rows) == len(before) and run is not None
        is_same &= (best, by, marked) == (self._best, self._sorted, self._marked)
        is_same &= (training is None) == (self._training is None)
        switched = now ^ (self._training or frozenset())
        self._rows, self._columns, self._best, self._sorted = rows, columns, best, by
        self._marked, self._training = marked, training
        self._places = {row.number: place for place, row in enumerate(rows)}
        self.virtual_size = Size(self.size.width, len(rows) + 1)
        self._cursor = self._places.get(run or 0, min(self._cursor, max(len(rows) - 1, 0)))
        if self.run != run:
            self.post_message(self.Moved(self.run))
        self._draw(before if is_same and self.run == run else (), switched)

    def _draw(self, before: Sequence[RunRow], switched: Collection[int]) -> None:
        """Draw the lines that differ from the rows `before`, and `switched` runs; else everything."""
        changed = [
            place
            for place, (row, old) in enumerate(zip(self._rows, before, strict=False))
            if row is not old or row.number in switched
        ]
        is_wider = self._widen(map(self._rows.__getitem__, changed) if before else self._rows[:AHEAD])
        if is_wider or not before:
            self.refresh()
            return
        top = self.scroll_offset.y
        for place in changed:
            if top <= place < top + self.size.height:
                self.refresh_lines(place + 1, 1)

    def go_to(self, run: int) -> None:
        """Put the cursor on this run, if it is shown."""
        if run in self._places:
            self._put(self._places[run])

    def action_move(self, by: int) -> None:
        self._put(self._cursor + by)

    def action_page(self, by: int) -> None:
        self._put(self._cursor + by * max(1, self.size.height - 2))

    def action_shift(self, by: int) -> None:
        movable = sum(not column.fixed for column in self._columns)
        self._first = max(0, min(self._first + by, movable - 1))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the screen: the titles, or a run."""
        if y == 0:
            return self._titles()
        place = y - 1 + self.scroll_offset.y
        if place >= len(self._rows):
            return Strip.blank(self._width, self.rich_style)
        return self._line(self._rows[place], place == self._cursor)

    def on_resize(self, event: events.Resize) -> None:
        self.virtual_size = Size(event.size.width, len(self._rows) + 1)
        self._reveal()

    def on_click(self, event: events.Click) -> None:
        """Put the cursor there, or tell which title it was."""
        at = LEAD
        for index in self._shown()[0] if not event.y else ():
            at += self._widths[index] + len(GAP)
            if event.x < at:
                self.post_message(self.TitleChosen(self._columns[index].title))
                return
        if event.y and event.y - 1 + self.scroll_offset.y < len(self._rows):
            self._put(event.y - 1 + self.scroll_offset.y)

    @property
    def _width(self) -> int:
        """Cells of a line beside the scroll bar."""
        return self.scrollable_content_region.width

    def _put(self, place: int) -> None:
        place = max(0, min(place, len(self._rows) - 1))
        if self._rows and place != self._cursor:
            self._cursor = place
            self._reveal()
            self.post_message(self.Moved(self.run))
            self.refresh()

    def _reveal(self) -> None:
        """Scroll to where the cursor is seen."""
        top, room = self.scroll_offset.y, max(1, self.size.height - 1)
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False)
        elif self._cursor >= top + room:
            self.scroll_to(y=self._cursor - room + 1, animate=False)

    def _widen(self, rows: Iterable[RunRow]) -> bool:
        """Make columns as wide as the cells of these rows; they never shrink, so that nothing jumps."""
        before = [*self._widths]
        for row in rows:
            for index, column in enumerate(self._columns):
                width = min(cell_len(column.text(row)[0]), WIDEST)
                self._widths[index] = max(self._widths[index], width)
        return before != self._widths

    def _shown(self) -> tuple[list[int], bool]:
        """The columns from left to right, as far as there is room, and whether there are more.

        The fixed ones come first, then those from the first movable one on.
        """
        fixed = [index for index, column in enumerate(self._columns) if column.fixed]
        movable = [index for index, column in enumerate(self._columns) if not column.fixed][self._first :]
        room = self._width - LEAD - sum(self._widths[index] + len(GAP) for index in fixed)
        shown: list[int] = []
        for index in movable:
            room -= self._widths[index] + len(GAP)
            if room < -len(GAP) and shown:
                break
            shown.append(index)
        return [*fixed, *shown], len(shown) < len(movable)

    def _titles(self) -> Strip:
        plain = self.get_component_rich_style("run-table--titles")
        chosen = self.get_component_rich_style("run-table--sorted")
        segments = [Segment(f"{'‹' if self._first else '':<{LEAD}}", plain)]
        name, downwards = self._sorted
        shown, are_more = self._shown()
        for index in shown:
            column, width = self._columns[index], self._widths[index]
            is_chosen = column.title == name
            title = f"{column.title}{'▼' if downwards else '▲'}" if is_chosen else column.title
            segments += [
                Segment(fitted(title, width, column.right), chosen if is_chosen else plain),
                Segment(GAP, plain),
            ]
        titles = Strip(segments).adjust_cell_length(self._width, plain)
        return Strip([*titles.crop(0, self._width - 1), Segment("›", plain)]) if are_more else titles

    def _line(self, row: RunRow, is_cursor: bool) -> Strip:
        if self._widen([row]):
            self.call_after_refresh(self.refresh)
        base = self.rich_style
        if is_cursor:
            base += self.get_component_rich_style("run-table--cursor")
        mark, is_best = self._marked.get(row.number), row.number in self._best
        segments = [
            Segment(MARK if mark else " ", base + Style.parse(mark or "")),
            Segment(BEST if is_best else " ", base + Style.parse("bold yellow")),
            Segment(" ", base),
        ]
        for index in self._shown()[0]:
            column, width = self._columns[index], self._widths[index]
            text, style = column.text(row)
            segments += [
                Segment(fitted(text, width, column.right), base + Style.parse(style)),
                Segment(GAP, base),
            ]
        return Strip(segments).adjust_cell_length(self._width, base)
