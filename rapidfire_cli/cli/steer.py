"""The verbs that steer the runs of an experiment, during training or after."""

from typing import Annotated

import typer

from rapidfire_cli.cli.options import Format, Parent, Which, verb
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.formats import Output

Runs = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN…", help="Numbers (3), ranges (3-7) or `best`."),
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
    dry_run: DryRun = False,
    output: Format = Output.TABLE,
) -> None:
    """Bring deleted runs back from the trash."""
    from rapidfire_cli.app.control.selection import Selection
    from rapidfire_cli.app.control.steering_verb import Options
    from rapidfire_cli.app.verbs import restore

    selection = Selection(tuple(runs or ()), where, worse)
    raise typer.Exit(restore.restore(selection, Options(experiment, parent, None, dry_run, output)))


@verb()
def purge(
    runs: Runs = None,
    where: Where = None,
    worse: Worse = None,
    experiment: Which = None,
    parent: Parent = None,
    dry_run: DryRun = False,
    output: Format = Output.TABLE,
) -> None:
    """Free the disk of deleted runs: all of them, or those named."""
    from rapidfire_cli.app.control.selection import Selection
    from rapidfire_cli.app.control.steering_verb import Options
    from rapidfire_cli.app.verbs import purge

    selection = Selection(tuple(runs or ()), where, worse)
    raise typer.Exit(purge.purge(selection, Options(experiment, parent, None, dry_run, output)))


@verb()
def undo(
    experiment: Which = None, parent: Parent = None, dry_run: DryRun = False, output: Format = Output.TABLE
) -> None:
    """Revert your last request."""
    from rapidfire_cli.app.control.steering_verb import Options
    from rapidfire_cli.app.verbs import undo

    raise typer.Exit(undo.undo(Options(experiment, parent, None, dry_run, output)))


@verb()
def log(experiment: Which = None, parent: Parent = None, output: Format = Output.TABLE) -> None:
    """List the requests that people made, and what became of them."""
    from rapidfire_cli.app.verbs import log

    raise typer.Exit(log.log(experiment, parent, output))
