"""`clone`: train copies of runs with changed knobs, from scratch or from their weights."""

from dataclasses import replace

from rapidfire_cli.app.control.cloning import Cloning
from rapidfire_cli.app.control.selection import Selection, selected
from rapidfire_cli.app.control.steering_verb import Options, steered
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.requests import CloneRun
from rapidfire_cli.store.known_runs import known_runs


def clone(selection: Selection, ask: CloneRun, options: Options) -> int:
    """Clone the runs as `ask` says and print the answers; return the exit code.

    Raises Refusal, located in the changes, before anything is asked for.
    """
    seen = open_overview(options.experiment, options.parent, unlisted=True)
    runs, cloning = selected(selection, seen), Cloning(seen.home)
    for one in known_runs(seen.home.journal, 1):
        if one.run.number in runs:
            cloning.config(one.run, ask)
    return steered(seen, replace(ask, runs=runs), options)
