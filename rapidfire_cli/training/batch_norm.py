"""Batch normalisation in a gang: each device's own rows (`local`), or those of all devices (`sync`)."""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rapidfire_cli.training.gang import as_default


def first_normalised(model: nn.Module) -> str | None:
    """Return the name of the model's first layer that normalises over a batch; None without such layers."""
    return next((name for name, each in model.named_modules() if isinstance(each, _BatchNorm)), None)


class Synced(nn.SyncBatchNorm):
    """Normalises over the rows that all ranks of a gang have of a batch.

    torch does so only while there is a default process group, which a gang does not have otherwise.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the normalised rows (B, C, …); every rank calls this."""
        with as_default(self.process_group):
            output: torch.Tensor = super().forward(input)
        return output


def synced(model: nn.Module, group: Any) -> nn.Module:
    """Return the model with its layers replaced by those that normalise over the rows of all ranks.

    The layers keep their names, parameters and buffers, so checkpoints have the same format.
    """
    made: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model, group)  # type: ignore[no-untyped-call]
    for each in made.modules():
        if isinstance(each, nn.SyncBatchNorm):
            each.__class__ = Synced
    return made
