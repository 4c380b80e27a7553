"""Tables for people: whole and plain in a file or pipe; on a terminal in colour, and as wide as it is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TextIO, TypeVar

from rapidfire_cli.view.wording import cells_of

if TYPE_CHECKING:
    from rich.text import Text

Row = TypeVar("Row")

GAP = "  "


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """A column: its title and the text of each row; `styles` gives certain texts a rich style."""

    title: str
    text: Callable[[Row], str]
    right: bool = False
    styles: Mapping[str, str] = field(default_factory=dict)
    drop_order: int = 0  # the higher, the sooner it gives way on a narrow terminal; 0 never does


@dataclass(frozen=True, slots=True)
class Table(Generic[Row]):
    """Rows under columns, and notes below; on a terminal the first row can be highlighted."""

    columns: Sequence[Column[Row]]
    rows: Sequence[Row]
    highlight_first: bool = False
    notes: Sequence[str] = ()


def show(table: Table[Row], stream: TextIO) -> None:
    """Print the table, as fits where it goes."""
    if stream.isatty():
        from rich.console import Console

        console = Console(file=stream, highlight=False)
        for number, line in enumerate(coloured(table, console.width)):
            if number <= len(table.rows):  # the titles are the first line
                console.print(line, no_wrap=True, overflow="ellipsis")
            else:
                console.print(line, soft_wrap=True)  # the terminal wraps it, so that a path can be copied
        return
    stream.writelines(f"{line}\n" for line in plain(table))


def plain(table: Table[Row]) -> Iterator[str]:
    """The table's lines, aligned, without trailing spaces."""
    for cells in _aligned(table, range(len(table.columns)), _texts(table)):
        yield GAP.join(cells).rstrip()
    yield from table.notes


def fitting(columns: Sequence[Column[Row]], widths: Sequence[int], room: int) -> list[int]:
    """The indices of the columns to show in `room` cells, the indispensable first, in their order."""
    kept = []
    for index in sorted(range(len(columns)), key=lambda index: (columns[index].drop_order, index)):
        needed = widths[index] + len(GAP)
        if needed <= room + len(GAP) or not columns[index].drop_order:  # no gap follows the last
            room -= needed
            kept.append(index)
    return sorted(kept)


def _texts(table: Table[Row]) -> list[list[str]]:
    """A row of titles, then a row of texts for each row."""
    rows = ([column.text(row) for column in table.columns] for row in table.rows)
    return [[column.title for column in table.columns], *rows]


def _widths(texts: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cells_of, column)) for column in zip(*texts, strict=True)]


def _aligned(table: Table[Row], shown: Sequence[int], texts: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    widths = _widths(texts)
    for line in texts:
        yield [_padded(line[index], widths[index], table.columns[index].right) for index in shown]


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - cells_of(text))
    return space + text if right else text + space


def coloured(table: Table[Row], width: int) -> Iterator["Text"]:
    """The table's lines as a terminal shows them that is `width` cells wide."""
    from rich.text import Text

    texts = _texts(table)
    shown = fitting(table.columns, _widths(texts), width)
    titles, *rows = _aligned(table, shown, texts)
    yield Text(GAP.join(titles), "dim")
    for number, cells in enumerate(rows):
        styles = (table.columns[index].styles.get(texts[number + 1][index], "") for index in shown)
        line = Text(GAP).join(Text(text, style) for text, style in zip(cells, styles, strict=True))
        if table.highlight_first and number == 0:
            line.stylize("bold")
        yield line
    yield from map(Text, table.notes)
    if hidden := [column.title for index, column in enumerate(table.columns) if index not in shown]:
        yield Text(f"not shown: {', '.join(hidden)}", "dim")
