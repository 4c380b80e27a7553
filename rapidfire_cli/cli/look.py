"""Verbs that show an experiment."""

from typing import Annotated, Literal

import typer

from rapidfire_cli.cli.options import Format, Parent, Which, verb
from rapidfire_cli.terms import Direction
from rapidfire_cli.view.formats import Output


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
