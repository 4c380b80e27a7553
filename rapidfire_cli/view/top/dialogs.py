"""Screens above the main one: the help, and the question before what cannot be taken back at once."""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from rapidfire_cli.view.top.keys import SECTIONS


class Help(ModalScreen[None]):
    """The keys, in sections."""

    CSS = """
    Help { align: center middle; }
    Help > VerticalScroll {
        width: 78; max-width: 100%; height: auto; max-height: 100%;
        background: $panel; padding: 0 2; border: round $primary; border-title-color: $text;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter,space", "dismiss", "close", show=False),
    ]

    def __init__(self, read_only: bool) -> None:
        super().__init__()
        self._read_only = read_only

    def compose(self) -> ComposeResult:
        """All of it in one scrolling text."""
        with VerticalScroll() as body:
            body.border_title = "keys (esc closes)"
            yield Static(help_text(self._read_only), markup=False)


def help_text(read_only: bool) -> Text:
    """The keys, in sections; without those of requests where none may be made."""
    lines: list[Text] = []
    for title, keys in SECTIONS:
        shown = [key for key in keys if not (read_only and key.asks)]
        if shown:
            lines += [Text(""), Text(title, "bold")] if lines else [Text(title, "bold")]
        for key in shown:
            lines.append(Text.assemble((f"  {key.shown or key.keys:<8}", "bold cyan"), key.about))
    return Text("\n").join(lines)


class Confirm(ModalScreen[bool]):
    """A question that y answers, and anything else declines."""

    CSS = """
    Confirm { align: center middle; }
    Confirm > Static {
        width: auto; max-width: 90%; height: auto; padding: 1 3;
        background: $panel; border: round $warning; border-title-color: $text;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes", show=False),
        Binding("n,escape,q", "answer(False)", "no", show=False),
    ]

    def __init__(self, question: str, command: str) -> None:
        super().__init__()
        self._question, self._command = question, command

    def compose(self) -> ComposeResult:
        """The question, and the command that has the same effect."""
        text = Text.assemble((self._question, "bold"), "\n\n", (f"$ {self._command}", "dim"), "\n\n")
        body = Static(text.append("y  yes     n  no", "bold cyan"), markup=False)
        body.border_title = "please confirm"
        yield body

    def action_answer(self, answer: bool) -> None:
        """Close with this answer."""
        self.dismiss(answer)
