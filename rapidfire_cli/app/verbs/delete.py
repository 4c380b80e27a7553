"""`delete`: move runs to the trash."""

import sys

from rapidfire_cli.app.control.selection import Selection
from rapidfire_cli.app.control.steering_verb import Options, steer
from rapidfire_cli.requests import Delete
from rapidfire_cli.view.wording import numbered


def delete(selection: Selection, sure: bool, options: Options) -> int:
    """Delete the runs and print the answers; return the exit code. Unless `sure`, ask first."""
    return steer(selection, Delete, options, None if sure or options.dry_run else _confirmed)


def _confirmed(runs: tuple[int, ...]) -> bool:
    """Whether the person at the terminal agrees."""
    if not sys.stdin.isatty():
        print("error: `delete` asks before it deletes; use `-y` in scripts", file=sys.stderr)
        return False
    print(f"delete {numbered(runs)}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
