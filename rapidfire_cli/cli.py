"""The command line: each verb parses its arguments, calls one function of `app` and exits with its code."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from rapidfire_cli import __version__
from rapidfire_cli.app import streams
from rapidfire_cli.app.parameters import Verb, Verbs
from rapidfire_cli.problems import Refusal
from rapidfire_cli.syntax.text import MAX_BYTES
from rapidfire_cli.terms import Direction
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

DEBUG = "--debug"

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


def _encoded(output: Output) -> Output:
    """Print data as UTF-8, and tables in the terminal's encoding."""
    if output is not Output.TABLE:
        streams.print_data()
    return output


Format = Annotated[Output, typer.Option("--output", "-o", callback=_encoded, help="Output format.")]


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
            callback=_encoded,
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
def fit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The experiment file, or a manifest.jsonl.")],
    sets: Sets = None,
    unsets: Unsets = None,
    parent: Parent = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes; default: one per GPU, or per share of the CPU."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads per worker.")] = None,
    gpus: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Use at most N GPUs; 0 trains on the CPU.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Train only every N-th run, starting with the I-th.")
    ] = None,
    most: Annotated[
        int, typer.Option("--max-runs", min=1, metavar="N", help="Refuse to train more than N runs.")
    ] = 100_000,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over; move existing files aside.")] = False,
    accepted: Annotated[
        bool,
        typer.Option("--accept-changes", help="Continue even if the MLSpec's code or data changed."),
    ] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop when the first run fails.")] = False,
    require: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC>=X", help="Exit with code 3 if the best run misses it; repeatable."),
    ] = None,
    debug_run: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="RUN", help="Train one run in this process, for breakpoint(); save nothing."
        ),
    ] = None,
    output: Annotated[
        Output,
        typer.Option(
            "--output",
            "-o",
            callback=_encoded,
            help="Format of the ranking; jsonl prints events as they happen.",
        ),
    ] = Output.TABLE,
    max_bytes: MaxBytes = MAX_BYTES,
) -> None:
    """Train all runs; rerun to continue and retry failures."""
    from rapidfire_cli.app import ci, debugging, errors, experiments
    from rapidfire_cli.app.devices import DeviceRequest
    from rapidfire_cli.app.files import Given
    from rapidfire_cli.app.verbs import fit

    def train() -> int:
        request = fit.Request(
            devices=DeviceRequest(workers, threads, gpus),
            shard=ci.shard(shard) if shard else None,
            fresh=fresh,
            accepted=accepted,
            fail_fast=fail_fast,
            required=ci.requirements(require or ()),
        )
        loaded = experiments.load_experiment(Given(file, sets or (), unsets or (), max_bytes), parent, most)
        if debug_run:
            return debugging.debug(loaded, debug_run, request.devices)
        return fit.fit(loaded, request, output)

    raise typer.Exit(errors.reported(train, output))


@verb()
def status(experiment: Which = None, parent: Parent = None, output: Format = Output.TABLE) -> None:
    """Show the state of every run, during training or after."""
    from rapidfire_cli.app.verbs import status

    raise typer.Exit(status.status(experiment, parent, output))


@verb()
def best(
    experiment: Which = None,
    parent: Parent = None,
    metric: Annotated[str | None, typer.Option(help="Rank by this metric; default: the objective.")] = None,
    minimize: Annotated[bool, typer.Option("--min", help="Lower is better.")] = False,
    maximize: Annotated[bool, typer.Option("--max", help="Higher is better.")] = False,
    at: Annotated[
        Literal["last", "best"] | None,
        typer.Option("--by", help="Rank by each run's last finished epoch, or by its best."),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Show the N best.", metavar="N")] = None,
    output: Format = Output.TABLE,
) -> None:
    """Rank the leaf configs by the objective.

    Runs are ranked by their last finished epoch, unless the objective or --by says best. Replicates are
    ranked by their mean.
    """
    from rapidfire_cli.app.verbs import best

    direction: Direction | None = "min" if minimize else "max" if maximize else None
    if minimize and maximize:
        raise typer.BadParameter("--min and --max cannot be combined")
    raise typer.Exit(best.best(experiment, parent, metric, direction, at, top, output))


@verb()
def why(
    run: Annotated[int, typer.Argument(min=1, metavar="RUN", help="The run's number.")],
    experiment: Which = None,
    parent: Parent = None,
    output: Format = Output.TABLE,
) -> None:
    """Explain how a run got into its state.

    Shows every early-stopping decision about the run and the values it was based on.
    """
    from rapidfire_cli.app.verbs import why

    raise typer.Exit(why.why(run, experiment, parent, output))


@verb()
def replay(
    experiment: Which = None,
    parent: Parent = None,
    factor: Annotated[
        int | None,
        typer.Option("--reduction-factor", min=2, metavar="N", help="Keep one run in N at each rung."),
    ] = None,
    min_epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs of the first rung.")] = None,
    without_waiting: Annotated[
        bool | None,
        typer.Option("--async/--sync", help="Promote runs as results arrive, or wait for the whole rung."),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Compare runs by this metric.")] = None,
    minimize: Annotated[bool, typer.Option("--min", help="Lower is better.")] = False,
    maximize: Annotated[bool, typer.Option("--max", help="Higher is better.")] = False,
    slots: Annotated[int, typer.Option(min=1, metavar="N", help="Simulate N slots.")] = 1,
    output: Format = Output.TABLE,
) -> None:
    """Simulate successive halving on recorded runs.

    Computes which run other settings would have chosen, and at what cost. Without settings, checks that every
    recorded decision follows from the results recorded before it.
    """
    from rapidfire_cli.app.verbs import replay

    if minimize and maximize:
        raise typer.BadParameter("--min and --max cannot be combined")
    mode: Literal["sync", "async"] | None = (
        None if without_waiting is None else "async" if without_waiting else "sync"
    )
    direction: Direction | None = "min" if minimize else "max" if maximize else None
    setting = replay.Setting(factor, min_epochs, mode, metric, direction)
    raise typer.Exit(replay.replay(experiment, parent, setting, slots, output))


@verb()
def repair(experiment: Which = None, parent: Parent = None) -> None:
    """Rebuild a lost journal from the checkpoints."""
    from rapidfire_cli.app.verbs import repair

    raise typer.Exit(repair.repair(experiment, parent))


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


def main() -> None:
    """Run the command line; print errors without a traceback, and exit with their code (70 for a bug)."""
    if DEBUG in sys.argv:
        os.environ[streams.DEBUG] = "1"
    sys.argv = [word for word in sys.argv if word != DEBUG]
    streams.prepare()
    try:
        try:
            cli()
        finally:
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        from rapidfire_cli.app import errors

        if streams.debugging(os.environ) and not isinstance(error, Refusal):
            raise
        raise SystemExit(errors.explain(error)) from None
