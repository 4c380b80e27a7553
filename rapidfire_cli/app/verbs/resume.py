"""`resume`: train runs on that were stopped, pruned or failed."""

from rapidfire_cli.app.control.selection import Selection
from rapidfire_cli.app.control.steering_verb import Options, steer
from rapidfire_cli.requests import Resume


def resume(selection: Selection, options: Options) -> int:
    """Resume the runs and print the answers; return the exit code."""
    return steer(selection, Resume, options)
