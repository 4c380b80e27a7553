"""`log`: the requests that people made about an experiment's runs."""

from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.requests import requests_table, taken_record


def log(experiment: str | None, parent: str | None, output: Output) -> int:
    """Print every request in its order, with its answers."""
    home = open_overview(experiment, parent, unlisted=True).home
    recorded = requests_taken(home.journal)
    print_rows(
        output,
        lambda: requests_table(recorded),
        lambda: {"requests": [taken_record(each) for each in recorded]},
        lambda: map(taken_record, recorded),
    )
    return 0
