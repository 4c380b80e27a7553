"""Requests from the app: each is shown as the command that has the same effect, then with its answers."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from rich.text import Text
from textual.app import App

from rapidfire_cli.problems import visible
from rapidfire_cli.requests import Ask, CloneRun, Delete, Keep, Purge, Restore, Resume, Stop
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.view.knob_columns import varied
from rapidfire_cli.view.requests import answer_lines, command_text
from rapidfire_cli.view.top.clone_form import CloneForm
from rapidfire_cli.view.top.desk import Desk, Sent
from rapidfire_cli.view.top.dialogs import Confirm
from rapidfire_cli.view.wording import numbered

Runs: TypeAlias = "tuple[int, ...]"
Say: TypeAlias = "Callable[[Sequence[Text]], None]"

ANSWERS = 3  # lines of answers that are shown (assumed)
ASKS: Mapping[str, Callable[[Runs], Ask]] = {
    "stop": Stop,
    "stop_now": lambda runs: Stop(runs, at_once=True),
    "resume": Resume,
    "delete": Delete,
    "restore": Restore,
    "purge": Purge,
    "keep": Keep,
}
CONFIRMED = {"stop_now": "kill the worker of", "delete": "delete", "purge": "purge, for good,"}


class Requesting:
    """Makes requests, after a question where they cannot be taken back at once."""

    def __init__(self, app: App[None], desk: Desk, say: Say, answered: Say) -> None:
        self._app, self._desk, self._say, self._answered = app, desk, say, answered

    def ask_about(self, name: str, runs: Runs) -> None:
        """Ask for what has this name."""
        ask = ASKS[name](runs)
        if name not in CONFIRMED:
            self.send(ask)
            return
        question = Confirm(f"{CONFIRMED[name]} {numbered(runs)}?", self._command(ask))
        self._app.push_screen(question, lambda yes: self.send(ask) if yes else None)

    def clone(self, row: RunRow, seen: Overview) -> None:
        """Ask for a clone of the run, as a form says."""
        form = CloneForm(row, varied(seen), self._desk.check, self._desk.options)
        self._app.push_screen(form, self._cloned)

    def send(self, ask: Ask) -> None:
        """Send a request, and show the command at once."""
        command = Text(f"$ {visible(self._command(ask))}", "dim")
        self._say([command, Text("…")])
        self._app.run_worker(partial(self._sent, ask, command), thread=True)

    def _cloned(self, ask: CloneRun | None) -> None:
        if ask:
            self.send(ask)

    def _command(self, ask: Ask) -> str:
        return f"rapidfire {command_text(ask)} {self._desk.options}".rstrip()

    def _sent(self, ask: Ask, command: Text) -> None:
        assert self._desk.send
        sent = self._desk.send(ask)
        self._app.call_later(self._answered, [command, *_answers(sent)])


def _answers(sent: Sent) -> list[Text]:
    lines = []
    for answer in sent.answers:
        style = "red" if answer.outcome == "refused" else "green"
        lines += [Text(visible(line), style) for line in answer_lines(answer)]
    if sent.trouble:
        lines.append(Text(visible(sent.trouble), "red"))
    if len(lines) > ANSWERS:
        lines = [*lines[: ANSWERS - 1], Text(f"and {len(lines) - ANSWERS + 1} more", "dim")]
    if not sent.live and any(answer.changed for answer in sent.answers):
        lines[-1].append("  (no fit is running; the next one goes by this)", "dim")
    return lines
