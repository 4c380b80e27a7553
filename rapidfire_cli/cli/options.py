"""The program, and the options that several of its verbs have."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rapidfire_cli.app import streams
from rapidfire_cli.app.parameters import Verb, Verbs
from rapidfire_cli.view.formats import Output

cli = typer.Typer(
    name="rapidfire",
    cls=Verbs,
    help="One file describes many training runs; one command trains them all, side by side.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

verb = partial(cli.command, cls=Verb)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The experiment file.")]
Parent = Annotated[
    str | None,
    typer.Option(
        "--dir", metavar="DIR", envvar="RAPIDFIRE_DIR", help="Directory of the experiments.", show_envvar=True
    ),
]
Which = Annotated[
    str | None,
    typer.Option("--experiment", "-e", help="File, name or directory of an experiment; default: the newest."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Set a knob in all groups, in group N only (N:PATH=VALUE), or add one (+PATH=VALUE).",
    ),
]
Unsets = Annotated[
    list[str] | None,
    typer.Option(
        "--unset", metavar="PATH", help="Remove a knob from all groups, or from group N only (N:PATH)."
    ),
]
MaxBytes = Annotated[
    int,
    typer.Option(
        "--max-spec-bytes",
        min=1,
        metavar="BYTES",
        help="Maximum size of a file; also raises the limit on its values.",
    ),
]


def encoded(output: Output) -> Output:
    """Print data as UTF-8, and tables in the terminal's encoding."""
    if output is not Output.TABLE:
        streams.print_data()
    return output


Format = Annotated[Output, typer.Option("--output", "-o", callback=encoded, help="Output format.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's number, or `best`.")]
