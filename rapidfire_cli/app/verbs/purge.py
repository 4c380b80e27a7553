"""`purge`: free the disk of deleted runs."""

import sys

from rapidfire_cli.app.control.selection import Selection
from rapidfire_cli.app.control.steering_verb import Options, steer, steered
from rapidfire_cli.app.control.trash import directory_of, oldest_first, size_of
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.requests import Purge
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.view.wording import size_text


def purge(selection: Selection, options: Options) -> int:
    """Purge the selected runs, or all deleted ones, oldest first; return the exit code."""
    if selection.words or selection.where or selection.worse:
        return steer(selection, Purge, options)
    seen = open_overview(options.experiment, options.parent, unlisted=True)
    deleted = [one.run for one in known_runs(seen.home.journal, 1) if one.former]
    if not deleted:
        print("no run is in the trash", file=sys.stderr)
        return 0
    freed = sum(size_of(directory_of(seen.home, run)) for run in deleted)
    runs = tuple(run.number for run in oldest_first(seen.home, deleted))
    code = steered(seen, Purge(runs), options)
    if not (code or options.dry_run):
        print(f"freed {size_text(freed)}", file=sys.stderr)
    return code
