"""Verbs that change an experiment."""

from pathlib import Path
from typing import Annotated

import typer

from rapidfire_cli.cli.options import MaxBytes, Parent, Sets, Unsets, Which, encoded, verb
from rapidfire_cli.syntax.text import MAX_BYTES
from rapidfire_cli.terms import AUTO, RunsPerGpu, Tracker
from rapidfire_cli.view.formats import Output


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
    runs_per_gpu: Annotated[
        str | None,
        typer.Option(metavar="N|auto", help="Runs that share each GPU; auto measures how many fit."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Train on a Ray cluster: auto, local (start one here) or host:port."
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Accept a Ray cluster without token authentication.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Train only every N-th config, starting with the I-th.")
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
    stay: Annotated[
        bool,
        typer.Option("--stay", help="When nothing is left to train, wait for requests until Ctrl-C."),
    ] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a JUnit report: a test case per run and gate.")
    ] = None,
    trackers: Annotated[
        list[Tracker] | None,
        typer.Option("--tracker", help="Also log to this tracker; repeatable."),
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
            callback=encoded,
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

    if debug_run and (runs_per_gpu or shard or fresh or fail_fast or require or stay or trackers or junit):
        others = "--runs-per-gpu, --shard, --fresh, --fail-fast, --require, --stay, --tracker or --junit"
        message = f"--debug-run cannot be combined with {others}"
        raise typer.BadParameter(message)

    if ray and debug_run:
        raise typer.BadParameter("--ray cannot be combined with --debug-run")

    shared = _runs_per_gpu(runs_per_gpu)
    if workers and runs_per_gpu:
        raise typer.BadParameter("--workers cannot be combined with --runs-per-gpu")

    if junit and not junit.parent.is_dir():
        raise typer.BadParameter(f"the directory '{junit.parent}' does not exist", param_hint="--junit")

    def train() -> int:
        request = fit.Request(
            devices=DeviceRequest(workers, threads, gpus, shared, ray, insecure),
            shard=ci.shard(shard) if shard else None,
            fresh=fresh,
            accepted=accepted,
            fail_fast=fail_fast,
            required=ci.requirements(require or ()),
            stay=stay,
            trackers=tuple(trackers or ()),
            junit=junit,
        )
        loaded = experiments.load_experiment(Given(file, sets or (), unsets or (), max_bytes), parent, most)
        if debug_run:
            return debugging.debug(loaded, debug_run, request.devices)
        return fit.fit(loaded, request, output)

    raise typer.Exit(errors.reported(train, output))


def _runs_per_gpu(text: str | None) -> RunsPerGpu | None:
    if text is None or text == AUTO:
        return AUTO if text else None
    if text.isdecimal() and int(text):
        return int(text)
    raise typer.BadParameter(f"'{text}' is not auto or an integer of at least 1", param_hint="--runs-per-gpu")


@verb()
def repair(experiment: Which = None, parent: Parent = None) -> None:
    """Rebuild a lost journal from the checkpoints."""
    from rapidfire_cli.app.verbs import repair

    raise typer.Exit(repair.repair(experiment, parent))


@verb()
def merge(
    experiments: Annotated[
        list[str],
        typer.Argument(metavar="EXPERIMENT…", help="Directories or names of the experiments to merge."),
    ],
    directory: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Directory to create; it must not exist.")
    ],
    parent: Parent = None,
) -> None:
    """Merge the shards of an experiment into one.

    Runs keep their numbers, checkpoints and history. The merged experiments stay as they are.
    """
    from rapidfire_cli.app.verbs import merge

    raise typer.Exit(merge.merge(experiments, parent, directory))
