"""`why`: explain the state of one run from the ledger of early stopping."""

from collections.abc import Sequence
from dataclasses import replace

from rapidfire_cli.app.beginnings import began_with
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.printing import print_either
from rapidfire_cli.app.selection import named_run
from rapidfire_cli.store.explain import Explanation, explain
from rapidfire_cli.store.history import Past, history
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.store.run_record import of_devices
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.why import judgement_records, why_document
from rapidfire_cli.view.why import why as sentences


def why(word: str, experiment: str | None, parent: str | None, output: Output) -> int:
    """Print why the run, a number or `best`, is in its state; return the exit code.

    Raises Refusal if it does not exist.
    """
    seen = open_overview(experiment, parent, unlisted=True)
    run = named_run(word, seen).number
    found = account_of(seen, run)
    print_either(
        output,
        lambda: print("\n".join(sentences(found))),
        lambda: why_document(found),
        lambda: judgement_records(found),
    )
    return 0


def account_of(seen: Overview, run: int, past: Sequence[Past] | None = None) -> Explanation:
    """What is known about the run. Raises Refusal if it does not exist.

    `past` is the experiment's history, where it was read for other runs already.
    """
    # the history is read last, so that it includes everything read before
    found = explain(seen, history(seen.home.journal) if past is None else past, run)
    devices = of_devices(seen.home.journal, run)
    return replace(found, began=began_with(seen.home, found.row), devices=devices)
