"""`clone`: train copies of runs with changed knobs, from scratch or from their weights."""

import os
import sys
from dataclasses import replace

from rapidfire_cli.app.control.clone_check import check_clones
from rapidfire_cli.app.control.selection import Selection, selected
from rapidfire_cli.app.control.steering_verb import Options, steered
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.requests import CloneRun
from rapidfire_cli.view.audience import waiting


def clone(selection: Selection, ask: CloneRun, options: Options) -> int:
    """Clone the runs as `ask` says and print the answers; return the exit code.

    Raises Refusal, located in the changes, before anything is asked for.
    """
    seen = open_overview(options.experiment, options.parent, unlisted=True)
    wanted = replace(ask, runs=selected(selection, seen))
    check_clones(seen.home, wanted, during=lambda: waiting("checking the clone", sys.stderr, os.environ))
    return steered(seen, wanted, options)
