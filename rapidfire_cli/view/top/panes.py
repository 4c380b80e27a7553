"""The lower half of the screen: one of several panes, each about the runs that are chosen above."""

from collections.abc import Iterable

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Static

PANES = ("curves", "log", "rungs", "slots", "run")


class Tabs(Static):
    """The names of the panes in one line, with what the one that is shown is about."""

    DEFAULT_CSS = "Tabs { height: 1; background: $panel; }"

    class Chosen(Message):
        """A name was clicked."""

        def __init__(self, pane: str) -> None:
            super().__init__()
            self.pane = pane

    def __init__(self) -> None:
        super().__init__(id="tabs", markup=False)
        self._note = ""

    def note(self, text: str) -> None:
        """Set the note that later calls of `show` put at the right; empty for none."""
        self._note = text

    def show(self, pane: str, about: str) -> None:
        """Highlight the pane's name; at the right is what it is about, and the note."""
        about = " · ".join(filter(None, (self._note, about)))
        line = Text(no_wrap=True, overflow="ellipsis")
        for place, name in enumerate(PANES, start=1):
            style = "bold reverse" if name == pane else ""
            line.append(f" {place} {name} ", style).append(" ")
        room = self.size.width - len(line.plain) - len(about) - 1
        self.update(line.append(" " * max(room, 1)).append(about, "dim"), layout=False)

    def on_click(self, event: object) -> None:
        """Choose the pane whose name is there."""
        at = int(getattr(event, "x", 0))
        for place, name in enumerate(PANES, start=1):
            width = len(f" {place} {name}  ")
            if at < width:
                self.post_message(self.Chosen(name))
                return
            at -= width


class TextPane(VerticalScroll):
    """Lines of text that scroll; at the end they follow what is added."""

    DEFAULT_CSS = """
    TextPane { scrollbar-size-vertical: 1; padding: 0 1; }
    TextPane:focus { background: $boost; }
    TextPane > Static { width: 1fr; height: auto; }
    """

    def __init__(self, name: str, follows: bool = False) -> None:
        super().__init__(id=name)
        self._follows = follows
        self._about: object = None

    def compose(self) -> ComposeResult:
        """The text."""
        yield Static(markup=False)

    def show(self, lines: Iterable[Text | str], about: object = None) -> None:
        """Show the lines. If `about` changed, scroll to the end of a log and to the top of other texts."""
        text = Text("\n").join(line if isinstance(line, Text) else Text(line) for line in lines)
        at_end = self.scroll_offset.y >= self.max_scroll_y
        self.query_one(Static).update(text)
        if self._follows and (at_end or about != self._about):
            self.call_after_refresh(self.scroll_end, animate=False)
        elif about != self._about:
            self.scroll_home(animate=False)
        self._about = about
