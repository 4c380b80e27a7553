"""`keep`: keep the last durable epoch end of runs, so that clones can begin with it later."""

from rapidfire_cli.app.control.selection import Selection
from rapidfire_cli.app.control.steering_verb import Options, steer
from rapidfire_cli.requests import Keep


def keep(selection: Selection, options: Options) -> int:
    """Keep the checkpoints and print the answers; return the exit code."""
    return steer(selection, Keep, options)
