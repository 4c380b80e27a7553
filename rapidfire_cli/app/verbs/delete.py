"""`delete`: move runs to the trash."""

from rapidfire_cli.app.confirming import confirmed
from rapidfire_cli.app.control.selection import Selection
from rapidfire_cli.app.control.steering_verb import Options, steer
from rapidfire_cli.requests import Delete
from rapidfire_cli.view.wording import numbered


def delete(selection: Selection, sure: bool, options: Options) -> int:
    """Delete the runs and print the answers; return the exit code. Unless `sure`, ask first."""
    return steer(selection, Delete, options, None if sure or options.dry_run else _confirmed)


def _confirmed(runs: tuple[int, ...]) -> bool:
    return confirmed(f"delete {numbered(runs)}", "delete")
