"""Predict with a trained run: one output row for each input row, in order.

Rows are read from a file or a folder with `datasets`. They pass through `row_prep`, `collate` and
`compute_forward` like the rows of a split. Batches have no `labels`, so predictions cannot depend on them.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor, nn

from rapidfire_cli.engine.messages import Finding, Predict, Use, Used
from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.training import metrics
from rapidfire_cli.training.batches import BatchSource
from rapidfire_cli.training.datasets import Loaded
from rapidfire_cli.training.failure import Failure, one_line
from rapidfire_cli.training.input_rows import InputRows, UnknownFormat, input_rows
from rapidfire_cli.training.loop import infer
from rapidfire_cli.training.opening import Shared
from rapidfire_cli.training.prediction_files import written
from rapidfire_cli.training.trained import Refused, Trained, reopened
from rapidfire_cli.training.user_code import relative

PREDICT = "predict"
"""The `mode` of `row_prep`, and the name of the rows in messages."""

NO_LABELS = (
    "in mode `predict`, rows and batches have no labels: leave them out in `row_prep`, and the loss in"
    " `compute_forward`"
)


def predict(order: Use, task: Predict, shared: Shared) -> Used:
    """Write the predictions. Raises Refused, Failure, OSError, and what user code raises."""
    with TemporaryDirectory(prefix="rapidfire-") as cache:
        rows = _rows(Path(task.data), cache)
        loaded = Loaded({PREDICT: rows.dataset}, {}, None, "{}", {})
        trained = reopened(order.assignment, order.at, shared, "predict", loaded)
        feed = Unlabelled(shared.rows.batch_source(PREDICT, trained.source, shared.spec))
        found = predictions(trained, feed, task.batch_size or trained.train.eval_batch_size)
        if rows.files:
            found = ({"file": name, **one} for name, one in zip(rows.files, found, strict=True))
        written(Path(task.output), found)
    return Used(
        epoch=trained.kept.ended.epoch,
        step=trained.kept.step,
        is_inside=trained.kept.is_inside,
        rows=len(feed),
    )


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """The batches of another source, without labels."""

    source: BatchSource

    def __len__(self) -> int:
        return len(self.source)

    def batches(self, rows: Tensor, size: int, epoch: int, first: int = 0) -> Iterator[Any]:
        for batch in self.source.batches(rows, size, epoch, first):
            if isinstance(batch, MutableMapping):
                batch.pop("labels", None)
            yield batch


def predictions(trained: Trained, feed: BatchSource, size: int) -> Iterator[Mapping[str, Any]]:
    """Yield the MLSpec's prediction for each row, in order. Raises Failure, and what user code raises."""
    usual = type(trained.spec).predictions is MLSpec.predictions
    values = usual and any(map(metrics.is_of_values, trained.train.named_metrics))
    names = class_names(trained.model) if usual else {}
    for rows, batch, outputs in infer(trained, feed, size):
        found: Any = _values(outputs) if values else trained.spec.predictions(outputs, batch, trained.cfg)
        if not isinstance(found, Sequence) or len(found) != rows:
            told = f"{len(found)} rows" if isinstance(found, Sequence) else f"a {type(found).__name__}"
            cause = f"`predictions` must return a mapping for each of the {rows} rows of a batch, not {told}"
            raise Failure("error", cause)
        for one in found:
            if not isinstance(one, Mapping):
                kind = type(one).__name__
                raise Failure("error", f"`predictions` must return a mapping for each row, not a {kind}")
            yield _named(one, names)


def class_names(model: nn.Module) -> dict[int, str]:
    """Return the class names by index from a transformers config; empty if they are generated defaults.

    The config of the model itself is preferred to those of its parts.
    """
    for module in model.modules():
        names = getattr(getattr(module, "config", None), "id2label", None)
        if isinstance(names, Mapping) and any(name != f"LABEL_{index}" for index, name in names.items()):
            return {int(index): str(name) for index, name in names.items()}
    return {}


def _values(outputs: Any) -> list[Mapping[str, Any]]:
    """Return the predicted values of a regression model."""
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else None
    if not isinstance(logits, Tensor):
        raise Failure("error", "predictions need `logits`, but compute_forward did not return it")
    each = logits.flatten(1).tolist() if logits.ndim > 1 else logits[:, None].tolist()
    return [{"value": one[0] if len(one) == 1 else one} for one in each]


def _named(one: Mapping[str, Any], names: Mapping[int, str]) -> Mapping[str, Any]:
    """Return the prediction with the name of its class, if it is known."""
    label = names.get(one.get("class", -1))
    return one if label is None else {"class": one["class"], "label": label, **one}


def _rows(path: Path, cache: str) -> InputRows:
    try:
        return input_rows(path, cache)
    except UnknownFormat as unknown:
        raise Refused(Finding(-1, (), "E623", str(unknown), expected=unknown.expected)) from None
    except Exception as error:  # datasets raises many types
        message = f"cannot read rows from {relative(str(path))}"
        raise Refused(Finding(-1, (), "E623", message, found=one_line(error))) from error
