"""`status`: the state of every run of an experiment, during training or after."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.durable.lock import is_held
from rapidfire_cli.store.queries import Overview, RunRow, overview
from rapidfire_cli.terms import Proposal, RunState
from rapidfire_cli.view.documents import experiment_document, run_document
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.results import status_table
from rapidfire_cli.view.tables import Table, coloured, show
from rapidfire_cli.view.wording import counted

LOOK = 0.5  # seconds between two looks at the journal (assumed)


def status(experiment: str | None, parent: str | None, whole: bool, output: Output) -> int:
    """Print the state of every run; with `whole` also of those that the file no longer asks for."""
    seen = open_overview(experiment, parent, unlisted=whole)
    print_rows(
        output,
        lambda: status_table(seen, notes(seen)),
        lambda: experiment_document(seen, seen.rows),
        lambda: (run_document(row, seen) for row in seen.rows),
    )
    return 0


def watch(experiment: str | None, parent: str | None, whole: bool) -> int:
    """Wait until the experiment no longer trains, then print the table; on a terminal renew it meanwhile."""
    seen = open_overview(experiment, parent, unlisted=whole)
    with _renewed() if sys.stdout.isatty() else nullcontext(_ignored) as renew:
        while seen.state is RunState.RUNNING:
            renew(status_table(seen, gathering(seen)))
            time.sleep(LOOK)
            seen = overview(seen.home.journal, is_held(seen.home.lock), whole)
    show(status_table(seen, notes(seen)), sys.stdout)
    return 0


def notes(seen: Overview) -> list[str]:
    """Lines about what the rows do not show: populations that wait, searches that are not over."""
    return [*gathering(seen), *unborn(seen)]


def gathering(seen: Overview) -> list[str]:
    """A line for each population of which runs wait for the end of a round, or forks are not born yet."""
    if not (seen.home.file.is_file() and b"pbt:" in seen.home.file.read_bytes()):
        return []
    from rapidfire_cli.store.explain import gatherings
    from rapidfire_cli.store.history import history
    from rapidfire_cli.view.why import gathering_text

    again = "" if seen.state is RunState.RUNNING else "; rerun `rapidfire fit FILE` to continue"
    found = gatherings(seen.rows, history(seen.home.journal))
    return [f"population (bracket {each.bracket}): {gathering_text(each)}{again}" for each in found]


def unborn(seen: Overview) -> list[str]:
    """A line for each search that has runs left to propose while nothing trains."""
    if seen.state is RunState.RUNNING or not seen.home.file.is_file():
        return []
    if b"search:" not in seen.home.file.read_bytes():  # without reading a large file closely
        return []
    from rapidfire_cli.app.files import reload
    from rapidfire_cli.search.proposing import later_runs, searches

    made = Counter(row.origin.search for row in seen.rows if isinstance(row.origin, Proposal))
    left = [(each, later_runs(each.search) - made[each.name]) for each in searches(reload(seen.home.file))]
    return [
        f"search in group {each.group}: {counted(many, 'run')} of {each.search.num_runs} not proposed yet; "
        "rerun `rapidfire fit FILE` to continue"
        for each, many in left
        if many > 0
    ]


@contextmanager
def _renewed() -> Iterator[Callable[[Table[RunRow]], None]]:
    """A screen of its own, and what shows a table there, as much of it as fits."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:

        def renew(table: Table[RunRow]) -> None:
            lines = [*coloured(table, console.width)]
            live.update(Text("\n").join(lines[: console.height]), refresh=True)

        yield renew


def _ignored(table: Table[RunRow]) -> None:
    """Nowhere to show it."""
