"""MLSpec: the class in which users define data, model and loss.

Shapes: B is the number of rows in a batch, C the number of classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import torch
    import torchmetrics

Cfg: TypeAlias = "Mapping[str, Any]"
"""The leaf config, read-only, by key: `cfg["user_knobs"]["model_type"]`."""

Mode: TypeAlias = Literal["fit", "evaluate", "predict"]


class Dataset(Protocol):
    """A map-style dataset: rows by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class MLSpec:
    """Subclass it, override `create_model` and `compute_forward`, and the rest as needed.

    Every run has an instance of its own. Randomness (Python's, NumPy's and torch's global generators) is
    reseeded before `prepare`, `load_data`, `initialize_run`, `create_model`, training, each row and each
    batch that is joined; each run has its own streams.
    """

    def load_data(self, data: dict[str, Any], cfg: Cfg) -> "Mapping[str, Dataset]":
        """The datasets by split: `train` is required, `validation` and `test` are optional.

        Called on an instance of its own; the result is kept and shared by every run whose `data` and whose
        knobs read here are equal. By default what `datasets.load_dataset(**data)` returns.
        """
        import datasets

        loaded: Mapping[str, Dataset] = datasets.load_dataset(**data)
        return loaded

    def prepare(self, misc_path: Path, data: dict[str, Any], cfgs: Sequence[Cfg]) -> None:
        """Make the files that every run needs, such as a tokenizer; called once, before anything is trained.

        `misc_path` is an empty directory, which appears whole as the `misc_path` of every run's
        `initialize_run`; `cfgs` are the leaf configs of all runs. Called on an instance of its own.
        """

    def initialize_run(self, misc_path: Path, cfg: Cfg, mode: Mode) -> None:
        """Prepare what the other methods need, such as a tokenizer; `misc_path` is a directory for files."""

    def create_model(self, cfg: Cfg) -> "torch.nn.Module":
        """The model to train, on the CPU; it is moved to the run's device afterwards."""
        raise NotImplementedError

    def row_prep(self, row: Any, cfg: Cfg, mode: str) -> dict[str, Any]:
        """One example as tensors and numbers; `mode` is the split. By default the row as it is.

        When it draws no randomness and gives the same result twice, its results are kept and used again.
        """
        if isinstance(row, Mapping):
            return dict(row)
        if isinstance(row, tuple) and hasattr(row, "_asdict"):
            return dict(row._asdict())
        size = f" of {len(row)}" if isinstance(row, tuple | list) else ""
        raise TypeError(
            f"the row is a {type(row).__name__}{size}, not a mapping of fields; "
            'override row_prep to return a dict, such as {"x": row[0], "labels": row[1]}'
        )

    def collate(self, rows: Sequence[dict[str, Any]], cfg: Cfg) -> Any:
        """The prepared rows as one batch, each field gaining a first dimension B; torch's default_collate."""
        from torch.utils.data import default_collate

        return default_collate(list(rows))

    def compute_forward(self, model: "torch.nn.Module", batch: Any, cfg: Cfg) -> "Mapping[str, torch.Tensor]":
        """The model's outputs for a batch; must contain `loss`, the scalar mean over the batch.

        `rapidfire predict` gives it batches without labels, and needs no loss.
        Metrics are fed by `logits` (B, C), where (B,) and (B, 1) mean binary, and `labels` (B,), which fall
        back to `batch["labels"]`. Other single numbers become metrics themselves: their means over an epoch,
        weighted as the loss is.
        """
        raise NotImplementedError

    def metric_inputs(self, outputs: Any, batch: Any, cfg: Cfg) -> "tuple[torch.Tensor, torch.Tensor]":
        """The logits and the labels of a batch that metrics are fed by: by default those that are returned.

        `outputs` is what `compute_forward` returned. Shapes as there; nothing is shifted for the next token.
        """
        logits, labels = outputs["logits"], outputs.get("labels")
        return logits, batch["labels"] if labels is None else labels

    def predictions(self, outputs: Any, batch: Any, cfg: Cfg) -> Sequence[Mapping[str, Any]]:
        """What `rapidfire predict` writes for each row of a batch: columns by name, plain or as tensors.

        By default the `class` with the largest of the `logits` (B, C), and its `probability`; of logits (B,)
        or (B, 1) the class is 1 where they are above 0.
        """
        import torch

        logits = outputs.get("logits") if isinstance(outputs, Mapping) else None
        if not isinstance(logits, torch.Tensor) or logits.ndim not in (1, 2):
            told = f"of shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else "missing"
            raise TypeError(f"the `logits` of compute_forward are {told}, not (B, C); override `predictions`")
        if logits.ndim == 1 or logits.shape[1] == 1:
            logits = torch.stack([torch.zeros_like(logits.flatten()), logits.flatten()], 1)
        probability, classes = logits.double().softmax(1).max(1)
        found = zip(classes.tolist(), probability.tolist(), strict=True)
        return [{"class": index, "probability": share} for index, share in found]

    def metrics(self, cfg: Cfg) -> "Mapping[str, torchmetrics.Metric]":
        """Your own metrics, by name; each is updated with (logits, labels) of every batch."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The state of `self` that training changes, as tensors and plain data; checkpoints save it."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`; called after `create_model`, with tensors on the CPU."""
