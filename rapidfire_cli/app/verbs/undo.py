"""`undo`: revert one's own last request."""

from rapidfire_cli.app.control.steering_verb import Options, steered
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.requests import Undo


def undo(options: Options) -> int:
    """Revert the last request of this user and print the answers; return the exit code."""
    seen = open_overview(options.experiment, options.parent, unlisted=True)
    return steered(seen, Undo(), options)
