"""`show`: one run, with all that is known about it."""

import sys

from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.printing import print_either
from rapidfire_cli.app.selection import named_run
from rapidfire_cli.store.known_runs import warmed_by
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.store.run_record import run_record
from rapidfire_cli.store.series import points
from rapidfire_cli.terms import Clone, Fork, OomRetry
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
    origins = [(each.number, each.origin) for each in seen.rows if each.origin]
    successor = next(
        (by for by, born in origins if isinstance(born, OomRetry) and born.run == row.number), None
    )
    clones = [each for each, born in origins if isinstance(born, Clone) and born.run == row.number]
    forks = [each for each, born in origins if isinstance(born, Fork) and born.run == row.number]
    record, curves = run_record(journal, row.number), [*points(journal, [row.number])]
    return RunPage(seen, row, record, curves, successor, clones, forks, warmed_by(journal, row.number))


def _print(page: RunPage) -> None:
    for part in run_page(page):
        if isinstance(part, str):
            print(part)
        else:
            show_table(part, sys.stdout)
