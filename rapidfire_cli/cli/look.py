"""Verbs that show an experiment."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from rapidfire_cli.cli.options import Format, Parent, Run, Which, verb
from rapidfire_cli.terms import Direction
from rapidfire_cli.view.formats import Output


@verb()
def status(
    experiment: Which = None,
    parent: Parent = None,
    whole: Annotated[
        bool, typer.Option("--all", help="Include runs that the file no longer asks for.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Wait until training is over; renew the table on a terminal.")
    ] = False,
    output: Format = Output.TABLE,
) -> None:
    """Show the state of every run, during training or after."""
    from rapidfire_cli.app.verbs import status

    if watch and output is not Output.TABLE:
        raise typer.BadParameter("--watch and --output cannot be combined")
    if watch:
        raise typer.Exit(status.watch(experiment, parent, whole))
    raise typer.Exit(status.status(experiment, parent, whole, output))


@verb()
def top(
    experiment: Which = None,
    parent: Parent = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Show only; make no requests.")] = False,
) -> None:
    """Watch and steer an experiment in a full-screen terminal app.

    Shows the runs, their curves and logs. Press ? for the keys.
    """
    from rapidfire_cli.app.verbs import top

    raise typer.Exit(top.top(experiment, parent, read_only))


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
def show(run: Run, experiment: Which = None, parent: Parent = None, output: Format = Output.TABLE) -> None:
    """Show one run: its config, curves, times and failures."""
    from rapidfire_cli.app.verbs import show

    raise typer.Exit(show.show(run, experiment, parent, output))


@verb()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Numbers, ranges (3-7), or `best`.")],
    experiment: Which = None,
    parent: Parent = None,
    whole: Annotated[bool, typer.Option("--all", help="Also show the knobs that are equal.")] = False,
    output: Format = Output.TABLE,
) -> None:
    """Show the metrics of runs, and the knobs that differ."""
    from rapidfire_cli.app.verbs import compare

    raise typer.Exit(compare.compare(runs, experiment, parent, whole, output))


@verb()
def history(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Numbers, ranges (3-7), or `best`.")
    ] = None,
    experiment: Which = None,
    parent: Parent = None,
    metric: Annotated[str | None, typer.Option(help="Only this metric.")] = None,
    events: Annotated[
        bool, typer.Option("--events", help="Print everything that happened, in order, instead of curves.")
    ] = False,
    output: Format = Output.TABLE,
) -> None:
    """Print whole curves: every metric of every epoch."""
    from rapidfire_cli.app.verbs import history

    if events and metric:
        raise typer.BadParameter("--events and --metric cannot be combined")
    if events:
        raise typer.Exit(history.history_events(runs or (), experiment, parent, output))
    raise typer.Exit(history.history(runs or (), experiment, parent, metric, output))


@verb()
def plot(
    kind: Annotated[
        Literal["curves", "parallel", "importance", "rungs"],
        typer.Argument(metavar="KIND", help="`curves`, `parallel`, `importance` or `rungs`."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="File to write: .svg, .png or .pdf.")
    ],
    experiment: Which = None,
    parent: Parent = None,
    metric: Annotated[str | None, typer.Option(help="Plot this metric; default: the objective.")] = None,
) -> None:
    """Draw the runs into a file.

    Learning curves; parallel coordinates of the knobs that vary; the importance of these knobs; the rungs of
    successive halving.
    """
    from rapidfire_cli.app.verbs import plot

    if output.suffix not in (".svg", ".png", ".pdf"):
        raise typer.BadParameter(f"'{output}' ends in none of .svg, .png and .pdf", param_hint="--output")
    raise typer.Exit(plot.plot(kind, output, experiment, parent, metric))


@verb()
def logs(
    run: Run,
    experiment: Which = None,
    parent: Parent = None,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=1, metavar="N", help="Only the last N lines.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print what is added until the run is over.")
    ] = False,
) -> None:
    """Print what a run printed."""
    from rapidfire_cli.app.verbs import logs

    raise typer.Exit(logs.logs(run, experiment, parent, tail, follow))


@verb()
def why(
    run: Run,
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
def report(
    file: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The HTML file to write.")],
    experiment: Which = None,
    parent: Parent = None,
) -> None:
    """Write the page of an experiment as one HTML file.

    It opens without a server or a network, and holds all runs and curves.
    """
    from rapidfire_cli.app.verbs import report

    raise typer.Exit(report.report(experiment, parent, file))


@verb()
def web(
    experiment: Which = None,
    parent: Parent = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port to listen on; 0 takes a free one.")
    ] = 0,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Address to listen on; others than this machine's can be reached."
        ),
    ] = "127.0.0.1",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Refuse every request that changes something.")
    ] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
) -> None:
    """Show a live page of an experiment in the browser.

    Prints the page's URL on the first line. Ctrl-C ends it; training is not affected.
    """
    from rapidfire_cli.app.verbs import web

    raise typer.Exit(web.web(experiment, parent, web.Address(host, port), read_only, not no_open))
