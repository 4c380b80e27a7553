"""`log`: the requests that people made about an experiment's runs."""

import sys

from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.requests import requests_table, taken_record
from rapidfire_cli.view.wording import counted


def log(experiment: str | None, parent: str | None, whole: bool, output: Output) -> int:
    """Print the requests in their order, with their answers; with `whole` those that were refused, too."""
    home = open_overview(experiment, parent, unlisted=True).home
    every = requests_taken(home.journal)
    recorded = [
        each for each in every if whole or any(one.outcome != "refused" for one in each.taken.answers)
    ]
    refused = len(every) - len(recorded)
    if refused and output is Output.TABLE:
        print(f"{counted(refused, 'refused request')} not shown (--all shows them)", file=sys.stderr)
    print_rows(
        output,
        lambda: requests_table(recorded),
        lambda: {"requests": [taken_record(each) for each in recorded]},
        lambda: map(taken_record, recorded),
    )
    return 0
