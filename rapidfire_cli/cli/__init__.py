"""The command line: each verb parses its arguments, calls one function of `app` and exits with its code.

A verb is in the module of its kind, and `--help` lists verbs in the order in which these modules are imported
here.
"""

import os
import sys
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command_name

from rapidfire_cli import __version__
from rapidfire_cli.app import streams
from rapidfire_cli.cli.options import cli
from rapidfire_cli.problems import Refusal

# isort: split
from rapidfire_cli.cli import describe  # noqa: F401

# isort: split
from rapidfire_cli.cli import train  # noqa: F401

# isort: split
from rapidfire_cli.cli import steer  # noqa: F401

# isort: split
from rapidfire_cli.cli import look  # noqa: F401

# isort: split
from rapidfire_cli.cli import use  # noqa: F401

__all__ = ["cli", "main"]

DEBUG = "--debug"


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"rapidfire {__version__}")
        raise typer.Exit


@cli.callback()
def rapidfire(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show Python tracebacks (or set RAPIDFIRE_DEBUG=1).")
    ] = False,
) -> None:
    """One file describes many training runs; one command trains them all, side by side."""
    try:
        Path.cwd()
    except FileNotFoundError:
        from rapidfire_cli.app.errors import Unavailable

        raise Unavailable("the working directory was deleted; change to one that exists") from None


def _of(verbs: Sequence[str]) -> typer.Typer:
    """The command line with only these verbs, if it has them: Typer takes 25 ms to build all verbs."""
    program = copy(cli)
    asked = [one for one in cli.registered_commands if _name(one) in verbs]
    program.registered_commands = asked or cli.registered_commands
    return program


def _name(verb: Any) -> str:
    return verb.name or get_command_name(verb.callback.__name__)


def main() -> None:
    """Run the command line; print errors without a traceback, and exit with their code (70 for a bug)."""
    if DEBUG in sys.argv:
        os.environ[streams.DEBUG] = "1"
    sys.argv = [word for word in sys.argv if word != DEBUG]
    streams.prepare()
    try:
        try:
            _of(sys.argv[1:2])()
        finally:
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        from rapidfire_cli.app import errors

        if streams.debugging(os.environ) and not isinstance(error, Refusal):
            raise
        raise SystemExit(errors.explain(error)) from None
