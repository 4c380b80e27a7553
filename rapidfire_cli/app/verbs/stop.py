"""`stop`: train runs no further."""

from rapidfire_cli.app.control.selection import Selection
from rapidfire_cli.app.control.steering_verb import Options, steer
from rapidfire_cli.requests import Stop


def stop(selection: Selection, now: bool, options: Options) -> int:
    """Stop the runs and print the answers; return the exit code."""
    return steer(selection, lambda runs: Stop(runs, now), options)
