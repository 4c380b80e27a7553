"""The form of a clone: the run's knobs to be changed, and how the clone begins."""

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Checkbox, Input, Label, Select, Static

from rapidfire_cli.manifest.knob_paths import dotted, knobs
from rapidfire_cli.problems import visible
from rapidfire_cli.requests import SOURCE, CloneRun, Warm
from rapidfire_cli.store.queries import RunRow
from rapidfire_cli.syntax.ast import Path
from rapidfire_cli.terms import Plain, canonical
from rapidfire_cli.view.requests import command_text

PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
RESERVED = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"})
STEP = re.compile(r'[^.="+:\s][^.=":\s]*')
SCRATCH = "scratch"
BEGINNINGS = ((SCRATCH, SCRATCH), ("all weights", "all"), ("weights that fit", "matching"))

Check = Callable[[CloneRun], str]


class CloneForm(ModalScreen[CloneRun | None]):
    """Asks what to change of a run; the answer is the request, or None."""

    CSS = """
    CloneForm { align: center middle; }
    CloneForm > #form {
        width: 78; max-width: 100%; height: auto; max-height: 100%;
        background: $panel; border: round $primary; border-title-color: $text; padding: 0 1;
    }
    CloneForm .field { height: 1; }
    CloneForm .field Label { width: 40%; color: $text-muted; }
    CloneForm .field Input { width: 1fr; height: 1; }
    CloneForm .field Select { width: 1fr; height: 1; }
    CloneForm .field Checkbox { width: 1fr; height: 1; padding: 0; }
    CloneForm .field Checkbox > .toggle--button { color: $boost; background: $boost; }
    CloneForm .field Checkbox.-on > .toggle--button { color: $text-success; background: $success-muted; }
    CloneForm .changed Label { color: $accent; text-style: bold; }
    CloneForm #knobs { height: auto; max-height: 9; scrollbar-size-vertical: 1; }
    CloneForm #problems { height: auto; max-height: 9; color: $text-error; display: none; }
    CloneForm #problems.shown { display: block; }
    CloneForm #command { height: auto; max-height: 3; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "cancel", show=False),
        Binding("ctrl+s", "submit", "clone", show=False, priority=True),
        Binding("down", "app.focus_next", "next field", show=False),
        Binding("up", "app.focus_previous", "previous field", show=False),
    ]

    def __init__(self, row: RunRow, first: Sequence[str], check: Check, options: str) -> None:
        """`first` are the knobs that come first: those that vary."""
        super().__init__()
        self._row, self._check, self._options = row, check, options
        every = [*knobs(row.config)]
        every.sort(key=lambda knob: dotted(knob[0]) not in first)
        self._knobs = [(written_path(path), written(value)) for path, value in every]

    def compose(self) -> ComposeResult:
        """The knobs, the beginning, then what is wrong and the command that has the same effect."""
        with VerticalScroll(id="form") as form:
            form.border_title = f"clone run {self._row.number}"
            form.border_subtitle = "enter clones  ·  esc cancels"
            with VerticalScroll(id="knobs", can_focus=False):
                for path, value in self._knobs:
                    with Horizontal(classes="field knob"):
                        yield Label(visible(path), markup=False)
                        yield Input(value, compact=True, select_on_focus=False)
            with Horizontal(classes="field"):
                yield Label("add a knob", markup=False)
                yield Input(placeholder="PATH=VALUE", compact=True, id="added")
            yield from self._beginning()
            yield Static(id="problems", markup=False)
            yield Static(id="command", markup=False)

    def on_mount(self) -> None:
        """Begin at the first knob."""
        self.query(Input).first().focus()
        self.renew()

    @property
    def ask(self) -> CloneRun:
        """The request as the form says it. Raises ValueError where a field is not what it must be."""
        fields = [field.value for field in self.query(".knob Input").results(Input)]
        changed = [
            f"{path}={now}" for (path, was), now in zip(self._knobs, fields, strict=True) if now != was
        ]
        added = self._text("added")
        begins: object = self.query_one("#warm", Select).value
        warm: Warm | None = "all" if begins == "all" else "matching" if begins == "matching" else None
        source = self._text("source") or "last"
        if not SOURCE.fullmatch(source):
            raise ValueError("epoch end: expected last, best or epoch:N")
        return CloneRun(
            (self._row.number,),
            (*changed, *([f"+{added.lstrip('+')}"] if added else [])),
            warm,
            source if warm else "last",
            self._number("epochs"),
            self._number("seed"),
            self._is_checked("replicate"),
            bool(warm) and self._is_checked("schedule"),
            bool(warm) and self._is_checked("wait"),
        )

    @on(Input.Changed)
    @on(Select.Changed)
    @on(Checkbox.Changed)
    def renew(self) -> None:
        """Show which knobs are changed, and the command."""
        for (_, was), field in zip(self._knobs, self.query(".knob"), strict=True):
            field.set_class(field.query_one(Input).value != was, "changed")
        for each in self.query(".warm"):
            each.display = self.query_one("#warm", Select).value != SCRATCH
        try:
            command = f"$ rapidfire {command_text(self.ask)} {self._options}".rstrip()
        except ValueError as error:
            command = str(error)
        self.query_one("#command", Static).update(Text(visible(command)))

    @on(Input.Submitted)
    def action_submit(self) -> None:
        """Look for problems, and close with the request if there are none."""
        try:
            ask = self.ask
        except ValueError as error:
            self._say(str(error))
            return
        self._say("checking the clone …")
        self.run_worker(partial(self._checked, ask), thread=True, exclusive=True)

    def action_cancel(self) -> None:
        """Close without a request."""
        self.dismiss(None)

    def _beginning(self) -> ComposeResult:
        with Horizontal(classes="field"):
            yield Label("begin with", markup=False)
            yield Select(BEGINNINGS, value=SCRATCH, allow_blank=False, compact=True, id="warm")
        for name, about, usual in (
            ("source", "weights of which epoch end", "last, best or epoch:N"),
            ("epochs", "epochs to train", f"{self._row.epochs}"),
            ("seed", "seed", f"{self._row.seed}"),
        ):
            with Horizontal(classes="field warm" if name == "source" else "field"):
                yield Label(about, markup=False)
                yield Input(placeholder=usual, compact=True, id=name)
        for name, about, classes in (
            ("replicate", "with the seed of a further replicate", "field"),
            ("schedule", "continue the learning-rate schedule", "field warm"),
            ("wait", "wait for the end of an epoch", "field warm"),
        ):
            with Horizontal(classes=classes):
                yield Label("", markup=False)
                yield Checkbox(about, compact=True, id=name)

    def _checked(self, ask: CloneRun) -> None:
        self.call_later(self._finish, self._check(ask), ask)

    def _finish(self, problems: str, ask: CloneRun) -> None:
        if problems:
            self._say(problems)
        else:
            self.dismiss(ask)

    def _say(self, problems: str) -> None:
        shown = self.query_one("#problems", Static)
        shown.update(Text("\n".join(map(visible, problems.split("\n")))))
        shown.add_class("shown")
        self.query_one("#form", VerticalScroll).scroll_end(animate=False)

    def _text(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def _number(self, name: str) -> int | None:
        text = self._text(name)
        if text and not text.isdecimal():
            raise ValueError(f"{name}: expected a whole number, found `{text}`")
        return int(text) if text else None

    def _is_checked(self, name: str) -> bool:
        return self.query_one(f"#{name}", Checkbox).value


def written(value: Plain) -> str:
    """The value as it is written after `--set PATH=`."""
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in RESERVED:
        return value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else canonical(value)


def written_path(path: Path) -> str:
    """The path as it is written after `--set`: steps that hold dots are quoted."""
    steps = map(str, path)
    return dotted(tuple(step if STEP.fullmatch(step) else json.dumps(step) for step in steps))
