"""`compare`: runs side by side, with what differs between them."""

from collections.abc import Sequence

from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.app.selection import named_runs
from rapidfire_cli.view.comparison import Comparison, comparison_document, comparison_table
from rapidfire_cli.view.documents import run_document
from rapidfire_cli.view.formats import Output


def compare(
    runs: Sequence[str], experiment: str | None, parent: str | None, whole: bool, output: Output
) -> int:
    """Print the runs side by side; `whole` shows equal knobs, too. Raises Refusal if one does not exist."""
    seen = open_overview(experiment, parent, unlisted=True)
    compared = Comparison(seen, named_runs(runs, seen), whole)
    print_rows(
        output,
        lambda: comparison_table(compared),
        lambda: comparison_document(compared),
        lambda: (run_document(row, seen) for row in compared.rows),
    )
    return 0
