"""`status`: the state of every run of an experiment, during training or after."""

import sys
import time

from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.durable.lock import is_held
from rapidfire_cli.store.queries import overview
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.documents import experiment_document, run_document
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.results import status_table
from rapidfire_cli.view.tables import coloured, show

LOOK = 0.5  # seconds between two looks at the journal (assumed)


def status(experiment: str | None, parent: str | None, whole: bool, output: Output) -> int:
    """Print the state of every run; with `whole` also of those that the file no longer asks for."""
    seen = open_overview(experiment, parent, unlisted=whole)
    print_rows(
        output,
        lambda: status_table(seen),
        lambda: experiment_document(seen, seen.rows),
        lambda: (run_document(row, seen) for row in seen.rows),
    )
    return 0


def watch(experiment: str | None, parent: str | None, whole: bool) -> int:
    """Renew the table while the experiment trains, then print it. Raises Unavailable without a terminal."""
    if not sys.stdout.isatty():
        raise Unavailable("`--watch` needs a terminal; use `fit --output jsonl` to follow an experiment")
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    seen = open_overview(experiment, parent, unlisted=whole)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while seen.state is RunState.RUNNING:
            lines = [*coloured(status_table(seen), console.width)]
            live.update(Text("\n").join(lines[: console.height]), refresh=True)
            time.sleep(LOOK)
            seen = overview(seen.home.journal, is_held(seen.home.lock), whole)
    show(status_table(seen), sys.stdout)
    return 0
