"""`evaluate`: the loss and the metrics of a trained run over a split."""

from collections.abc import Sequence

from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.app.trained import Asked, Chosen, choose, use
from rapidfire_cli.engine.messages import Evaluate, Used
from rapidfire_cli.terms import Split
from rapidfire_cli.view.evaluation import Evaluation, evaluation_document, evaluation_table
from rapidfire_cli.view.formats import Output


def evaluate(asked: Asked, split: Split, metrics: Sequence[str], output: Output) -> int:
    """Print the values; the exit code. Of `metrics`, if any are named, only these."""
    chosen = choose(asked)
    shown = _evaluation(chosen, split, metrics, use(chosen, Evaluate(split, tuple(metrics))))
    print_rows(
        output,
        lambda: evaluation_table(shown),
        lambda: evaluation_document(shown),
        lambda: [evaluation_document(shown)],
    )
    return 0


def _evaluation(chosen: Chosen, split: Split, metrics: Sequence[str], answer: Used) -> Evaluation:
    values = {metric.name: metric.value for metric in answer.metrics}
    named = {name: values[name] for name in dict.fromkeys(metrics)} if metrics else values
    return Evaluation(
        chosen.row.number, split, answer.epoch, chosen.row.epochs, answer.step, answer.rows, named
    )
