"""`status`: the state of every run of an experiment, during training or after."""

from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.view.documents import experiment_document, run_document
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.results import status_table


def status(experiment: str | None, parent: str | None, output: Output) -> int:
    """Print the state of every run."""
    seen = open_overview(experiment, parent)
    print_rows(
        output,
        lambda: status_table(seen),
        lambda: experiment_document(seen, seen.rows),
        lambda: (run_document(row, seen) for row in seen.rows),
    )
    return 0
