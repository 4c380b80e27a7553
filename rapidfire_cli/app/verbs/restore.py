"""`restore`: bring runs back from the trash."""

from rapidfire_cli.app.control.selection import Selection
from rapidfire_cli.app.control.steering_verb import Options, steer
from rapidfire_cli.requests import Restore


def restore(selection: Selection, options: Options) -> int:
    """Restore the runs and print the answers; return the exit code."""
    return steer(selection, Restore, options)
