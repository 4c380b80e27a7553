"""Verbs about experiment files, which train nothing."""

from pathlib import Path
from typing import Annotated

import typer

from rapidfire_cli.app import streams
from rapidfire_cli.app.completion.scripts import Shell
from rapidfire_cli.app.templates import Name
from rapidfire_cli.cli.options import File, Format, MaxBytes, Parent, Sets, Unsets, encoded, verb
from rapidfire_cli.syntax.text import MAX_BYTES
from rapidfire_cli.view.formats import Output


@verb()
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The project's directory.")] = Path(),
    template: Annotated[Name, typer.Option(help="What to start from.")] = "digits",
) -> None:
    """Create an experiment with its MLSpec and demo data.

    Existing files are never overwritten. The templates:

    \b
    digits     an MLP and a CNN on handwritten digits
    imagenet   a ViT, ResNet, VGG or CNN on a folder of images
    imdb       a BERT that classifies texts
    causal_lm  a GPT-2 on text files
    lora       LoRA adapters for a pretrained GPT-2
    tabular    an MLP on tables, for classification and regression
    """
    from rapidfire_cli.app.verbs import init

    raise typer.Exit(init.init(directory, template))


@verb()
def expand(
    file: File,
    sets: Sets = None,
    unsets: Unsets = None,
    output: Format = Output.TABLE,
    count: Annotated[bool, typer.Option("--count", help="Print only the number of runs.")] = False,
    limit: Annotated[int | None, typer.Option(min=0, metavar="N", help="Show at most N runs.")] = None,
    condition: Annotated[
        str | None,
        typer.Option("--filter", metavar="CONDITION", help="Show the runs that match: 'train.epochs > 3'."),
    ] = None,
    why: Annotated[
        int | None, typer.Option(min=1, metavar="RUN", help="Show where each knob of this run comes from.")
    ] = None,
    max_bytes: MaxBytes = MAX_BYTES,
    header: Annotated[
        bool,
        typer.Option(
            "--header", help="With jsonl: print a header line first, so that `fit` can train the output."
        ),
    ] = False,
    slots: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Show how the runs would be scheduled on N slots.")
    ] = None,
) -> None:
    """Preview the runs, without importing your code or torch."""
    from rapidfire_cli.app.files import Given
    from rapidfire_cli.app.verbs import expand

    given = Given(file, sets or (), unsets or (), max_bytes)
    shown = expand.Shown(output, limit, condition, header, slots)
    raise typer.Exit(expand.expand(given, count, why, shown))


@verb()
def check(
    file: File,
    sets: Sets = None,
    unsets: Unsets = None,
    static: Annotated[
        bool, typer.Option("--static", help="Skip the checks that need your code or torch.")
    ] = False,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke",
            help="Also train the first and last batch of every kind of run and reload a checkpoint.",
        ),
    ] = False,
    output: Annotated[
        Output,
        typer.Option(
            "--output",
            "-o",
            callback=encoded,
            help="Output format; json prints problems as objects on stdout.",
        ),
    ] = Output.TABLE,
    max_bytes: MaxBytes = MAX_BYTES,
) -> None:
    """Find every problem that can be found before training."""
    from rapidfire_cli.app.files import Given
    from rapidfire_cli.app.verbs import check

    if static and smoke:
        raise typer.BadParameter("--static and --smoke cannot be combined")
    raise typer.Exit(check.check(Given(file, sets or (), unsets or (), max_bytes), static, smoke, output))


@verb()
def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="An experiment file, or REV:path in git.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another file, or the same file with --set.")],
    sets: Sets = None,
    unsets: Unsets = None,
    output: Format = Output.TABLE,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 when the runs differ.")] = False,
    max_bytes: MaxBytes = MAX_BYTES,
) -> None:
    """Show the runs that B adds, removes, changes and keeps.

    --set and --unset change B.
    """
    from rapidfire_cli.app.files import Given
    from rapidfire_cli.app.verbs import diff

    old, new = Given(before, (), (), max_bytes), Given(after, sets or (), unsets or (), max_bytes)
    raise typer.Exit(diff.diff(old, new, output, exit_code))


@verb()
def schema(
    tags: Annotated[
        bool, typer.Option("--tags", help="Also accept value sets without a tag, for YAML editors.")
    ] = False,
) -> None:
    """Print the JSON Schema of experiment files, for editors."""
    from rapidfire_cli.app.verbs import schema

    streams.print_data()
    raise typer.Exit(schema.schema(tags))


@verb()
def explain(
    code: Annotated[str | None, typer.Argument(help="A code such as E104; default: list all codes.")] = None,
) -> None:
    """Explain an error code, with an example."""
    from rapidfire_cli.app.verbs import explain

    raise typer.Exit(explain.explain(code))


@verb()
def doctor(parent: Parent = None, output: Format = Output.TABLE) -> None:
    """Check what this machine offers, and whether it can train.

    Exits with 5 if something is missing that training needs.
    """
    from rapidfire_cli.app.verbs import doctor

    raise typer.Exit(doctor.doctor(parent, output))


@verb()
def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]) -> None:
    """Print the script with which a shell completes commands."""
    from rapidfire_cli.app.verbs import completion

    raise typer.Exit(completion.completion(shell))
