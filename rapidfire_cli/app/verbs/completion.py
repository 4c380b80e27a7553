"""`completion`: print the script that completes what is typed in a shell."""

from rapidfire_cli.app.completion.scripts import SCRIPTS, Shell


def completion(shell: Shell) -> int:
    """Print the script; return the exit code."""
    print(SCRIPTS[shell].strip())
    return 0
