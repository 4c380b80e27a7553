"""What the lower half of the screen shows, and when it is to be found out again."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from time import monotonic
from typing import Any

from rich.text import Text
from textual.app import App
from textual.widgets import ContentSwitcher

from rapidfire_cli.problems import Refusal, visible
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.store.ranking import Metric
from rapidfire_cli.store.series import offsets, points
from rapidfire_cli.view.knob_columns import knob_value, varied
from rapidfire_cli.view.results import in_order
from rapidfire_cli.view.tables import plain
from rapidfire_cli.view.top.curves import Curves, curves
from rapidfire_cli.view.top.desk import Desk, Part
from rapidfire_cli.view.top.following import Following
from rapidfire_cli.view.top.log_tail import changed_at, tail
from rapidfire_cli.view.top.panes import Tabs, TextPane
from rapidfire_cli.view.top.rungs import bracket_lines
from rapidfire_cli.view.top.slots import Occupied, occupied, slot_lines
from rapidfire_cli.view.top.watched import Watched
from rapidfire_cli.view.wording import metric_title

SLOTS = 1.0  # seconds between two looks at the memory of workers (assumed)
LABEL = 24  # letters of what tells a run from the others (assumed)


class Lower:
    """Keeps the pane that is shown up to date. What takes longer is found out in a thread."""

    def __init__(self, app: App[None], following: Following, desk: Desk) -> None:
        self.logarithmic = False
        self._app, self._following, self._desk = app, following, desk
        self._metric = 0  # its place among the known ones
        self._runs: Sequence[int] = ()
        self._run: int | None = None
        self._shown: object = None  # what the pane was last drawn for
        self._occupied = Occupied()
        self._slots_due = 0.0

    def draw(self, runs: Sequence[int], run: int | None) -> None:
        """Show the pane about these runs, if it is not what it shows already."""
        known = self._following.known
        if known is None:
            return
        self._runs, self._run = runs, run
        row = known.rows.get(run or 0)
        pane, metric = self._pane, self._chosen(known)
        about = f"run {run}" if row and pane in ("log", "rungs", "run") else ""
        self._app.query_one(Tabs).show(pane, about)
        match pane:
            case "curves":
                self._once(
                    (pane, id(known), metric, self.logarithmic, *self._states(known, runs)), self._curves
                )
            case "log" if row:
                self._once((pane, row.number, changed_at(known.seen.home, row)), partial(self._log, row))
            case "rungs" if row:
                key = (pane, id(known), len(known.ledger), *self._states(known, [row.number]))
                self._once(key, lambda: self._find(key, self._why_lines, known.overview(), row.number))
            case "slots":
                self._slots(monotonic())
            case "run" if row:
                key = (pane, id(known), *self._states(known, [row.number]))
                self._once(key, lambda: self._find(key, self._page_lines, known.overview(), row.number))
            case _:
                pass

    def look(self, now: float) -> None:
        """Renew what changes without the journal: logs, memory, time."""
        if self._pane == "log" and self._run:
            self.draw(self._runs, self._run)
        elif self._pane == "slots" and now >= self._slots_due:
            self._slots_due = now + SLOTS
            self._app.run_worker(self._measure, thread=True, group="slots", exclusive=True)

    def choose_metric(self, by: int) -> None:
        """Draw another metric."""
        self._metric += by

    @property
    def _pane(self) -> str:
        return self._app.query_one("#lower", ContentSwitcher).current or ""

    def _once(self, key: object, show: Callable[[], None]) -> None:
        if key != self._shown:
            self._shown = key
            show()

    def _states(self, known: Watched, runs: Sequence[int]) -> Iterator[object]:
        """What differs when there is something new about the runs."""
        for run in runs:
            if row := known.rows.get(run):
                yield run, known.state_of(row), row.epoch, row.step, row.error

    def _chosen(self, known: Watched) -> Metric:
        metrics = in_order(known.known, known.measured)
        return metrics[self._metric % len(metrics)]

    def _curves(self) -> None:
        known = self._following.known
        assert known
        metric, rows = self._chosen(known), [known.rows[run] for run in self._runs if run in known.rows]
        labels = dict(self._labels(known, rows))
        try:
            journal, chunks = known.seen.home.journal, known.seen.metadata.chunks
            every = points(journal, [*labels], metric, inside=chunks > 1)
            found = [*curves(every, labels, offsets(journal), chunks)]
        except (Refusal, OSError, sqlite3.Error):
            return  # `Following` notices it, too
        self._app.query_one(Curves).show(metric_title(*metric), found, self.logarithmic)

    def _labels(self, known: Watched, rows: Sequence[RunRow]) -> Iterator[tuple[int, str]]:
        """The values of the knobs that tell the runs apart."""
        paths = varied(known.overview())
        texts = {row.number: [knob_value(row.config, path) for path in paths] for row in rows}
        differ = [place for place in range(len(paths)) if len({each[place] for each in texts.values()}) > 1]
        for run, own in texts.items():
            label = ", ".join(own[place] for place in differ)
            yield run, visible(label if len(label) <= LABEL else f"{label[:LABEL]}…")

    def _log(self, row: RunRow) -> None:
        known = self._following.known
        assert known
        text = tail(known.seen.home, row)
        pane = self._app.query_one("#log", TextPane)
        pane.show([Text("nothing printed yet", "dim") if not text else Text(text)], row.number)

    def _slots(self, now: float) -> None:
        known = self._following.known
        if known and self._app.query("#lower"):
            self._app.query_one("#slots", TextPane).show(slot_lines(known, self._occupied, now))

    def _measure(self) -> None:
        if known := self._following.known:
            self._occupied = occupied(known)
            self._app.call_later(self._slots, monotonic())

    def _find(self, key: object, find: Callable[..., list[Text]], *about: Any) -> None:
        """Find lines in a thread, and show them unless something else is shown by then."""

        def found() -> None:
            try:
                lines = find(*about)
            except (Refusal, OSError, sqlite3.Error) as error:
                lines = [Text(visible(str(error)), "red")]
            self._app.call_later(self._show_found, key, lines, about[1])

        self._app.run_worker(found, thread=True, group="found", exclusive=True)

    def _show_found(self, key: object, lines: list[Text], run: int) -> None:
        if key == self._shown and self._app.query("#lower"):
            self._app.query_one(f"#{self._pane}", TextPane).show(lines, run)

    def _why_lines(self, seen: Overview, run: int) -> list[Text]:
        first, *rest = (Text(visible(line)) for line in self._desk.why(seen, run))
        first.stylize("bold")
        known = self._following.known
        return [first, *rest, *bracket_lines([*known.ledger] if known else [], run)]

    def _page_lines(self, seen: Overview, run: int) -> list[Text]:
        return [line for part in self._desk.page(seen, run) for line in _lines(part)]


def _lines(part: Part) -> Iterator[Text]:
    if isinstance(part, str):
        yield Text(visible(part))
    else:
        yield from (Text(visible(line)) for line in plain(part))
