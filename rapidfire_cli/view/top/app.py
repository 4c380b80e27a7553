"""The terminal app: a screen with the runs above and what is known about some of them below.

Theory of operation. A timer looks at the journal five times a second, which costs some microseconds where
nothing is new. What is new is folded into `Watched`, and the screen is redrawn from it, at most four times a
second and, while runs train, as seldom as `view/pace.py` says; that a fit begins or ends is shown at once.
Threads read the journal as a whole, and send requests.
"""

from collections.abc import Callable, Sequence
from time import monotonic, process_time
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.timer import Timer
from textual.widgets import ContentSwitcher, Footer, Input, Static

from rapidfire_cli.problems import Refusal, brief, visible
from rapidfire_cli.requests import Undo
from rapidfire_cli.store.queries import RunRow
from rapidfire_cli.view.pace import Allowance
from rapidfire_cli.view.top.choosing import Choosing
from rapidfire_cli.view.top.columns import RunColumn, columns, columns_shape, ordered
from rapidfire_cli.view.top.curves import COLOURS, Curves
from rapidfire_cli.view.top.desk import Desk
from rapidfire_cli.view.top.dialogs import Help
from rapidfire_cli.view.top.following import Following
from rapidfire_cli.view.top.head import head
from rapidfire_cli.view.top.keys import SECTIONS
from rapidfire_cli.view.top.lower import Lower
from rapidfire_cli.view.top.panes import PANES, Tabs, TextPane
from rapidfire_cli.view.top.requesting import Requesting
from rapidfire_cli.view.top.table import RunTable
from rapidfire_cli.view.top.watched import Watched

LOOK = 0.2  # seconds between two looks at the journal
REDRAW = 0.25  # seconds between two pictures, at least
PLAIN_MARK = "bold white"  # of marked runs whose curves are not drawn
WIDE = 150  # cells from which on the halves are side by side (assumed)
SAID = 20.0  # seconds for which answers are shown (assumed)
ASKING = frozenset(key.action.partition("(")[0] for _, keys in SECTIONS for key in keys if key.asks)
ZOOMS = ("", "lower", "upper")


def bindings() -> list[BindingType]:
    """The app's bindings, as the keys' table has them."""
    found: list[BindingType] = []
    for _, keys in SECTIONS:
        for key in keys:
            actions = key.action.split(",") if "," in key.keys else [key.action]
            for name, action in zip(key.keys.split(","), actions, strict=False):
                if action:
                    shown = key.shown.partition(" ")[0] or None
                    about = key.short or key.about
                    found.append(Binding(name, action, about, show=bool(key.short), key_display=shown))
    found.append(Binding("ctrl+c", "quit", show=False, priority=True))
    return found + [
        Binding(str(place), f"pane('{name}')", name, show=False) for place, name in enumerate(PANES, 1)
    ]


class Top(App[None]):
    """Shows an experiment while it is trained, or after, and asks for changes."""

    CSS = """
    #head { height: 2; background: $surface; }
    #body { height: 1fr; layout: vertical; }
    #upper, #below, #lower { height: 1fr; width: 1fr; }
    .-wide #body { layout: horizontal; }
    .-wide #below { border-left: vkey $panel; }
    #said { height: auto; max-height: 4; background: $panel; display: none; padding: 0 1; }
    #said.shown { display: block; }
    #filter { display: none; height: 1; }
    #filter.shown { display: block; }
    .-zoom-lower #upper { height: 4; }
    .-wide.-zoom-lower #upper { display: none; }
    .-zoom-upper #below { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings()
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 - an attribute of instances

    def __init__(self, following: Following, desk: Desk) -> None:
        super().__init__()
        self._following, self._desk = following, desk
        self._columns: list[RunColumn] = []
        self._shape: object = None  # what the columns follow from
        self._sort: tuple[str, bool] | None = None  # the column's title, and whether downwards
        self._filter = ""
        self._chosen: Callable[[RunRow], bool] | None = None
        self._marked: list[int] = []  # in the order in which they were marked
        self._drawn = 0  # the version on the screen
        self._due = 0.0  # when what is new is drawn next
        self._shown = False  # whether a picture was begun at the last look
        self._paid: float | None = None  # the process's CPU time up to which pictures have been paid for
        self._allowance = Allowance()
        self._reading = False
        self._zoom = 0
        self._hiding: Timer | None = None
        self._trouble = ""  # that is shown
        self.table = RunTable()
        self.lower = Lower(self, following, desk)
        self.requesting = Requesting(self, desk, self.say, self._answered)

    def compose(self) -> ComposeResult:
        """The parts of the screen, from top to bottom."""
        yield Static(id="head", markup=False)
        with Container(id="body"):
            with Container(id="upper"):
                yield self.table
            with Container(id="below"):
                yield Tabs()
                with ContentSwitcher(id="lower", initial="curves"):
                    yield Curves(id="curves")
                    yield TextPane("log", follows=True)
                    yield TextPane("rungs")
                    yield TextPane("slots")
                    yield TextPane("run")
        yield Static(id="said", markup=False)
        yield Input(
            id="filter", compact=True, placeholder="lr > 1e-3 and loss < 0.5, or states: failed pruned"
        )
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to look."""
        self.table.focus()
        self.look()
        self.set_interval(LOOK, self.look)

    def on_unmount(self) -> None:
        """Close the journal."""
        self._following.close()

    def on_resize(self) -> None:
        """Draw for the new size."""
        self._drawn = -1

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable the keys of requests in a read-only app."""
        return self._desk.send is not None or action not in ASKING

    # Looking

    def look(self) -> None:
        """Read what is new and draw it, when it is time."""
        now = monotonic()
        if self._reading or not self.is_open:
            return
        self.lower.look(now)
        used = process_time()
        if self._paid is None:  # what it takes to read everything is not counted
            self._paid = used
        if self._shown:  # by now it is on the screen
            known, spent = self._following.known, used - self._paid
            alive = known is not None and known.alive
            self._due = now + (self._allowance.pause(spent, REDRAW - LOOK, now) if alive else 0)
            self._shown, self._paid = False, used
        if now < self._due and not self._following.turned:
            return
        if self._following.is_due:
            self._reading = True
            self.run_worker(self._read, thread=True)
        elif self._following.look() or self._following.version != self._drawn:
            self._shown = True
            self.draw()

    def draw(self) -> None:
        """Show what is known."""
        if not self.is_open:
            return
        self._drawn = self._following.version
        if self._following.trouble != self._trouble:
            self._trouble = self._following.trouble
            self.say([Text(visible(self._trouble), "red")] if self._trouble else [])
        elif self._following.told:
            told = self._following.told.pop()
            self._following.told.clear()
            self.say([Text(visible(told.text), "yellow")])
        known = self._following.known
        if known is None:
            return
        shape = columns_shape(known)
        if shape != self._shape:
            self._columns, self._shape = columns(known), shape
            self._choose(self._filter)
        best, rows = known.best(), self._rows(known)
        table, training = self.table, known.training() if known.alive else None
        table.show(rows, self._columns, best, self._sort or ("", False), self._styles(), training)
        self.query_one("#head", Static).update(head(known, best, self.size.width), layout=False)
        filtered = f"{len(rows):,} of {len(known.rows):,} runs: {self._filter}" if self._filter else ""
        self.query_one(Tabs).note(visible(filtered))
        self.lower.draw(self.curve_runs, table.run)

    @property
    def is_open(self) -> bool:
        """Whether the screen has its parts and no dialog is over it: messages and threads may come late."""
        return self.table.is_attached and self.screen is self.table.screen

    @property
    def curve_runs(self) -> list[int]:
        """The runs whose curves are drawn: the marked ones, else the one under the cursor."""
        run = self.table.run
        return self._marked[: len(COLOURS)] if self._marked else [run] if run else []

    def say(self, lines: Sequence[Text]) -> None:
        """Show lines above the keys for a while; none hides what was there."""
        if self._hiding:
            self._hiding.stop()
        lasts = not lines or bool(self._trouble)
        self._hiding = None if lasts else self.set_timer(SAID, lambda: self.say([]))
        said = self.query_one("#said", Static)
        said.set_class(bool(lines), "shown")
        said.update(Text("\n").join(lines))

    def _read(self) -> None:
        try:
            self._following.read()
        finally:
            self._reading, self._paid = False, None
        self.call_later(self.draw)

    def _rows(self, known: Watched) -> list[RunRow]:
        rows = [*known.rows.values()]
        if self._chosen:
            rows = [*filter(self._chosen, rows)]
        by = next((each for each in self._columns if self._sort and each.title == self._sort[0]), None)
        return ordered(rows, by, self._sort[1]) if by and self._sort else rows

    def _styles(self) -> dict[int, str]:
        """The styles of the marks."""
        colours = [*COLOURS, *[PLAIN_MARK] * max(0, len(self._marked) - len(COLOURS))]
        return dict(zip(self._marked, colours, strict=False))

    # Runs

    @on(RunTable.Moved)
    def _moved(self, event: RunTable.Moved) -> None:
        if self.is_open:
            self.lower.draw(self.curve_runs, event.run)

    def action_mark(self) -> None:
        """Mark the run under the cursor, or take its mark off; then go to the next."""
        table = self.table
        run = table.run
        if run in self._marked:
            self._marked.remove(run)
        elif run is not None:
            self._marked.append(run)
        table.action_move(1)
        self.draw()

    def action_mark_all(self) -> None:
        """Mark all that is shown, or take off all marks."""
        shown = self.table.runs
        self._marked = [] if set(shown) <= {*self._marked} else shown
        self.draw()

    def action_clear(self) -> None:
        """Leave the line of the filter, else the filter, else take off the marks; hide what was said."""
        self.say([])
        field = self.query_one("#filter", Input)
        if field.has_class("shown"):
            field.remove_class("shown")
        elif self._filter:
            self._choose("")
        else:
            self._marked = []
        self.table.focus()
        self.draw()

    def action_go_to_best(self) -> None:
        """Put the cursor on the best run."""
        if (known := self._following.known) and (best := known.best()):
            self.table.go_to(min(best))

    def action_sort(self, by: int) -> None:
        """Sort by another column; before the first and after the last the order is that of the file."""
        titles = ["", *(column.title for column in self._columns)]
        now = self._sort[0] if self._sort and self._sort[0] in titles else ""
        title = titles[(titles.index(now) + by) % len(titles)]
        self.sort_by(title)

    def sort_by(self, title: str) -> None:
        """Sort by the column of this title, in its usual direction."""
        column = next((each for each in self._columns if each.title == title), None)
        self._sort = (title, column.descending) if column else None
        self.draw()

    def action_invert(self) -> None:
        """Reverse the order."""
        name, downwards = self._sort or ("run", False)
        self._sort = name, not downwards
        self.draw()

    def action_filter(self) -> None:
        """Ask for a condition."""
        field = self.query_one("#filter", Input)
        field.value = self._filter
        field.add_class("shown")
        field.focus()

    @on(Input.Submitted, "#filter")
    def _filtered(self, event: Input.Submitted) -> None:
        if self._choose(event.value.strip()):
            self.say([])
            event.input.remove_class("shown")
            self.table.focus()
            self.draw()

    def _choose(self, text: str) -> bool:
        """Show the runs that match; whether the text could be understood."""
        known = self._following.known
        if not text or known is None:
            self._filter, self._chosen = "", None
            self.query_one("#filter", Input).remove_class("shown")
            return True
        try:
            self._chosen = Choosing(known).chooser(text)
        except Refusal as refusal:
            self.say([Text(visible(brief(refusal.problems[0])), "red")])
            return False
        self._filter = text
        return True

    # The lower half

    @on(RunTable.TitleChosen)
    def _title(self, event: RunTable.TitleChosen) -> None:
        if self._sort and self._sort[0] == event.title:
            self.action_invert()
        else:
            self.sort_by(event.title)

    @on(Tabs.Chosen)
    def _tab(self, event: Tabs.Chosen) -> None:
        self.action_pane(event.pane)

    def action_pane(self, name: str) -> None:
        """Show this pane."""
        self.query_one("#lower", ContentSwitcher).current = name
        self.draw()

    def action_metric(self, by: int) -> None:
        """Draw the curves of the next metric."""
        self.lower.choose_metric(by)
        self.action_pane("curves")

    def action_logarithm(self) -> None:
        """Draw logarithms, or values again."""
        self.lower.logarithmic = not self.lower.logarithmic
        self.action_pane("curves")

    def action_zoom(self) -> None:
        """Give the lower half nearly all of the screen, then the upper half, then both their own."""
        self._zoom = (self._zoom + 1) % len(ZOOMS)
        for name in ZOOMS[1:]:
            self.screen.set_class(name == ZOOMS[self._zoom], f"-zoom-{name}")
        self.call_after_refresh(self.draw)

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Help(self._desk.send is None))

    # Requests

    def action_ask(self, name: str) -> None:
        """Ask about the marked runs, or the one under the cursor."""
        run = self.table.run
        if runs := tuple(sorted(self._marked)) or ((run,) if run else ()):
            self.requesting.ask_about(name, runs)

    def action_undo(self) -> None:
        """Ask for the last request to be reverted."""
        self.requesting.send(Undo())

    def action_clone(self) -> None:
        """Ask for the changes in a form."""
        run = self.table.run
        if (known := self._following.known) and run is not None:
            self.requesting.clone(known.rows[run], known.overview())

    def _answered(self, lines: Sequence[Text]) -> None:
        """Show the answers to a request; the marks that it was about are taken off."""
        if self.is_open:
            self.say(lines)
            self._marked = []
            self._drawn = -1
