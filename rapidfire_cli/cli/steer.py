"""The verbs that steer the runs of an experiment, during training or after."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rapidfire_cli.app.parameters import Verb
from rapidfire_cli.cli.options import Format, Parent, Which, cli, verb
from rapidfire_cli.terms import SEED_LIMIT, RunState
from rapidfire_cli.view.formats import Output

Runs = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN", help="Numbers (3), ranges (3-7) or `best`."),
]
Where = Annotated[
    str | None,
    typer.Option(metavar="CONDITION", help="Runs whose knobs match: 'train.optimizer.args.lr > 1e-3'."),
]
Worse = Annotated[
    str | None,
    typer.Option("--worse-than", metavar="'METRIC VALUE'", help="Runs that are worse: 'loss 2.0'."),
]
IfState = Annotated[
    RunState | None, typer.Option("--if-state", help="Refuse runs that are in another state.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Show the effect; change nothing.")]


@verb()
def stop(
    runs: Runs = None,
    where: Where = None,
    worse: Worse = None,
    now: Annotated[bool, typer.Option("--now", help="Kill the worker; the last checkpoint counts.")] = False,
    experiment: Which = None,
    parent: Parent = None,
    if_state: IfState = None,
    dry_run: DryRun = False,
    output: Format = Output.TABLE,
) -> None:
    """Stop runs at their next optimizer step.

    They are saved, and `fit` leaves them stopped until `resume`.
    """
    from rapidfire_cli.app.control.selection import Selection
    from rapidfire_cli.app.control.steering_verb import Options
    from rapidfire_cli.app.verbs import stop

    selection = Selection(tuple(runs or ()), where, worse)
    raise typer.Exit(stop.stop(selection, now, Options(experiment, parent, if_state, dry_run, output)))


@verb()
def resume(
    runs: Runs = None,
    where: Where = None,
    worse: Worse = None,
    experiment: Which = None,
    parent: Parent = None,
    if_state: IfState = None,
    dry_run: DryRun = False,
    output: Format = Output.TABLE,
) -> None:
    """Train stopped, pruned or failed runs on."""
    from rapidfire_cli.app.control.selection import Selection
    from rapidfire_cli.app.control.steering_verb import Options
    from rapidfire_cli.app.verbs import resume

    selection = Selection(tuple(runs or ()), where, worse)
    raise typer.Exit(resume.resume(selection, Options(experiment, parent, if_state, dry_run, output)))


@verb()
def delete(
    runs: Runs = None,
    where: Where = None,
    worse: Worse = None,
    sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    experiment: Which = None,
    parent: Parent = None,
    if_state: IfState = None,
    dry_run: DryRun = False,
    output: Format = Output.TABLE,
) -> None:
    """Move runs to the trash."""
    from rapidfire_cli.app.control.selection import Selection
    from rapidfire_cli.app.control.steering_verb import Options
    from rapidfire_cli.app.verbs import delete

    selection = Selection(tuple(runs or ()), where, worse)
    raise typer.Exit(delete.delete(selection, sure, Options(experiment, parent, if_state, dry_run, output)))


@verb()
def restore(
    runs: Runs = None,
    where: Where = None,
    worse: Worse = None,
    experiment: Which = None,
    parent: Parent = None,
    if_state: IfState = None,
    dry_run: DryRun = False,
    output: Format = Output.TABLE,
) -> None:
    """Bring deleted runs back from the trash."""
    from rapidfire_cli.app.control.selection import Selection
    from rapidfire_cli.app.control.steering_verb import Options
    from rapidfire_cli.app.verbs import restore

    selection = Selection(tuple(runs or ()), where, worse)
    raise typer.Exit(restore.restore(selection, Options(experiment, parent, if_state, dry_run, output)))


@verb()
def purge(
    runs: Runs = None,
    where: Where = None,
    worse: Worse = None,
    experiment: Which = None,
    parent: Parent = None,
    if_state: IfState = None,
    dry_run: DryRun = False,
    output: Format = Output.TABLE,
) -> None:
    """Free the disk of deleted runs: all of them, or those named."""
    from rapidfire_cli.app.control.selection import Selection
    from rapidfire_cli.app.control.steering_verb import Options
    from rapidfire_cli.app.verbs import purge

    selection = Selection(tuple(runs or ()), where, worse)
    raise typer.Exit(purge.purge(selection, Options(experiment, parent, if_state, dry_run, output)))


@verb()
def clean(
    sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    experiment: Which = None,
    parent: Parent = None,
    dry_run: DryRun = False,
    output: Format = Output.TABLE,
) -> None:
    """Free the disk of runs that the file no longer asks for.

    Also deletes prepared rows that a killed `fit` left. Runs in the trash are for `purge`.
    """
    from rapidfire_cli.app.verbs import clean

    raise typer.Exit(clean.clean(experiment, parent, sure, dry_run, output))


@verb()
def keep(
    runs: Runs = None,
    where: Where = None,
    worse: Worse = None,
    experiment: Which = None,
    parent: Parent = None,
    if_state: IfState = None,
    dry_run: DryRun = False,
    output: Format = Output.TABLE,
) -> None:
    """Keep the last saved epoch of runs, for later clones."""
    from rapidfire_cli.app.control.selection import Selection
    from rapidfire_cli.app.control.steering_verb import Options
    from rapidfire_cli.app.verbs import keep

    selection = Selection(tuple(runs or ()), where, worse)
    raise typer.Exit(keep.keep(selection, Options(experiment, parent, if_state, dry_run, output)))


class CloneVerb(Verb):
    """Takes `--warm-start` with a value or without."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = ["--warm-start=all" if word == "--warm-start" else word for word in args]
        return super().parse_args(ctx, words)


@cli.command(cls=CloneVerb)
def clone(
    runs: Runs = None,
    where: Where = None,
    worse: Worse = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KNOB=VALUE", help="Change a knob, or add one (+KNOB=VALUE)."),
    ] = None,
    warm: Annotated[
        Literal["all", "matching"] | None,
        typer.Option("--warm-start", help="Begin with the run's weights: all, or those that fit."),
    ] = None,
    source: Annotated[
        str, typer.Option("--from", metavar="EPOCH", help="Whose weights: last, best or epoch:N.")
    ] = "last",
    epochs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Epochs to train; default: as many as the run.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=SEED_LIMIT - 1, metavar="N", help="Train with another seed.")
    ] = None,
    replicate: Annotated[
        bool, typer.Option("--replicate", help="Train a further replicate, which has its own seed.")
    ] = False,
    keep_schedule: Annotated[
        bool,
        typer.Option("--keep-schedule", help="Continue the learning-rate schedule where the run's was."),
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end of an epoch, if none is durable yet.")
    ] = False,
    experiment: Which = None,
    parent: Parent = None,
    if_state: IfState = None,
    dry_run: DryRun = False,
    output: Format = Output.TABLE,
) -> None:
    """Train copies of runs with changed knobs.

    With --warm-start, a copy begins with the weights that its run had at the end of an epoch.
    """
    from rapidfire_cli.app.control.selection import Selection
    from rapidfire_cli.app.control.steering_verb import Options
    from rapidfire_cli.app.verbs import clone
    from rapidfire_cli.requests import SOURCE, CloneRun

    if not SOURCE.fullmatch(source):
        raise typer.BadParameter("expected last, best or epoch:N", param_hint="--from")
    if warm is None and (keep_schedule or wait or source != "last"):
        raise typer.BadParameter("--from, --keep-schedule and --wait need --warm-start")
    selection = Selection(tuple(runs or ()), where, worse)
    ask = CloneRun((), tuple(changes or ()), warm, source, epochs, seed, replicate, keep_schedule, wait)
    raise typer.Exit(clone.clone(selection, ask, Options(experiment, parent, if_state, dry_run, output)))


@verb()
def undo(
    experiment: Which = None,
    parent: Parent = None,
    if_state: IfState = None,
    dry_run: DryRun = False,
    output: Format = Output.TABLE,
) -> None:
    """Revert your last request."""
    from rapidfire_cli.app.control.steering_verb import Options
    from rapidfire_cli.app.verbs import undo

    raise typer.Exit(undo.undo(Options(experiment, parent, if_state, dry_run, output)))


@verb()
def freeze(
    file: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")],
    runs: Runs = None,
    where: Where = None,
    worse: Worse = None,
    experiment: Which = None,
    parent: Parent = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Write a file that reproduces runs, clones included.

    By default all that are completed or to be trained, and those whose weights they begin with.
    """
    from rapidfire_cli.app.control.selection import Selection
    from rapidfire_cli.app.verbs import freeze

    selection = Selection(tuple(runs or ()), where, worse) if runs or where or worse else None
    raise typer.Exit(freeze.freeze(experiment, parent, file, force, selection, dry_run))


@verb()
def log(
    experiment: Which = None,
    parent: Parent = None,
    whole: Annotated[bool, typer.Option("--all", help="Also list requests that were refused.")] = False,
    output: Format = Output.TABLE,
) -> None:
    """List the requests that people made, and what became of them."""
    from rapidfire_cli.app.verbs import log

    raise typer.Exit(log.log(experiment, parent, whole, output))
