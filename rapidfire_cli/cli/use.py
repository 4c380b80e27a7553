"""Verbs that use a trained run."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from rapidfire_cli.cli.options import Format, Parent, Which, verb
from rapidfire_cli.terms import Tracker
from rapidfire_cli.view.formats import Output

Chosen = Annotated[str, typer.Argument(metavar="RUN", help="The run's number, or `best`.")]
At = Annotated[
    Literal["last", "best"],
    typer.Option("--at", help="Use the weights of the last finished epoch, or of the best."),
]


def _run(text: str) -> int | str:
    """A run's number, or `best`."""
    if text == "best":
        return text
    if not text.isdecimal():
        raise typer.BadParameter(f"'{text}' is neither a run's number nor `best`", param_hint="RUN")
    return int(text)


@verb()
def evaluate(
    run: Chosen,
    split: Annotated[str, typer.Option(help="Split of the data.")] = "validation",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Show only this metric, which need not be in the file; repeatable."
        ),
    ] = None,
    at: At = "last",
    experiment: Which = None,
    parent: Parent = None,
    output: Format = Output.TABLE,
) -> None:
    """Compute the metrics of a trained run on a split.

    Uses the data and the batch size of training. Can run during a `fit`.
    """
    from rapidfire_cli.app.trained import Asked
    from rapidfire_cli.app.verbs import evaluate

    asked = Asked(_run(run), at, experiment, parent)
    raise typer.Exit(evaluate.evaluate(asked, split, metric or (), output))


@verb()
def predict(
    run: Chosen,
    data: Annotated[
        Path,
        typer.Option(metavar="PATH", help="File of rows (csv, json, jsonl, parquet), or a folder of images."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="File to write: .parquet, .csv or .jsonl.")
    ],
    batch_size: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Rows per batch; default: that of validation.")
    ] = None,
    at: At = "last",
    experiment: Which = None,
    parent: Parent = None,
) -> None:
    """Write a prediction for each row of a file.

    Rows keep their order. Can run during a `fit`.
    """
    from rapidfire_cli.app.trained import Asked
    from rapidfire_cli.app.verbs import predict

    raise typer.Exit(predict.predict(Asked(_run(run), at, experiment, parent), data, output, batch_size))


@verb()
def export(
    run: Chosen,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Directory to create.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Merge the adapters of peft into the model.")
    ] = False,
    at: At = "last",
    experiment: Which = None,
    parent: Parent = None,
) -> None:
    """Write the model of a trained run to a directory.

    Uses save_pretrained if the model has it, else safetensors, and adds the config, the metrics and hashes.
    Can run during a `fit`.
    """
    from rapidfire_cli.app.trained import Asked
    from rapidfire_cli.app.verbs import export

    raise typer.Exit(export.export(Asked(_run(run), at, experiment, parent), output, merge))


@verb()
def track(
    to: Annotated[
        list[Tracker] | None,
        typer.Option("--to", help="Tracker to log to; repeatable; default: those used before."),
    ] = None,
    experiment: Which = None,
    parent: Parent = None,
) -> None:
    """Log to trackers what they have not logged yet.

    Works after a fit, and during one that does not log to the same tracker.
    """
    from rapidfire_cli.app.verbs import track

    raise typer.Exit(track.track(to or (), experiment, parent))
