"""`show`: one run, with all that is known about it."""

import sys

from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.printing import print_either
from rapidfire_cli.app.selection import named_run
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.store.run_record import run_record
from rapidfire_cli.store.series import points
from rapidfire_cli.terms import Clone, OomRetry, Proposal
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.run_page import RunPage, run_page, run_page_document
from rapidfire_cli.view.tables import show as show_table


def show(run: str, experiment: str | None, parent: str | None, output: Output) -> int:
    """Print the run's page. Raises Refusal if it does not exist."""
    seen = open_overview(experiment, parent, unlisted=True)
    row = named_run(run, seen)
    page = page_of(seen, row)
    print_either(
        output, lambda: _print(page), lambda: run_page_document(page), lambda: [run_page_document(page)]
    )
    return 0


def page_of(seen: Overview, row: RunRow) -> RunPage:
    """All that is known about the run."""
    journal = seen.home.journal
    born = [
        each
        for each in seen.rows
        if not isinstance(each.origin, Proposal | None) and each.origin.run == row.number
    ]
    successor = next((each.number for each in born if isinstance(each.origin, OomRetry)), None)
    clones = [each.number for each in born if isinstance(each.origin, Clone)]
    record, curves = run_record(journal, row.number), [*points(journal, [row.number])]
    return RunPage(seen, row, record, curves, successor, clones)


def _print(page: RunPage) -> None:
    for part in run_page(page):
        if isinstance(part, str):
            print(part)
        else:
            show_table(part, sys.stdout)
