"""What `bench.gang` trains: a small transformer, and how."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rapidfire_cli.mlspec import MLSpec

ROWS, TOKENS, WIDTH, LABELS = 160, 32, 128, 10
BATCH, EPOCHS, LR = 16, 4, 1e-4  # the first epoch warms up
Layer = nn.TransformerEncoderLayer


def data() -> tuple[Tensor, Tensor]:
    """Rows (ROWS, TOKENS, WIDTH) and labels (ROWS,)."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(ROWS, TOKENS, WIDTH, generator=generator)
    return rows, torch.randint(LABELS, (ROWS,), generator=generator)


class Pooled(nn.Module):
    """The mean over tokens."""

    def forward(self, rows: Tensor) -> Tensor:
        """Return (B, WIDTH) for rows (B, TOKENS, WIDTH)."""
        return rows.mean(1)


def model() -> nn.Module:
    """Four layers and a head."""
    layers = (Layer(WIDTH, 4, 4 * WIDTH, dropout=0.0, batch_first=True) for _ in range(4))
    return nn.Sequential(*layers, Pooled(), nn.Linear(WIDTH, LABELS))


class WorkSpec(MLSpec):
    """The work as rapidfire trains it."""

    def load_data(self, data_config, cfg):  # type: ignore[no-untyped-def]
        """Return the rows by split."""
        rows, labels = data()
        return {"train": [{"rows": row, "labels": label} for row, label in zip(rows, labels, strict=True)]}

    def create_model(self, cfg):  # type: ignore[no-untyped-def]
        """Return the model."""
        return model()

    def compute_forward(self, model, batch, cfg):  # type: ignore[no-untyped-def]
        """Return the loss."""
        return {"loss": functional.cross_entropy(model(batch["rows"]), batch["labels"])}
