"""torch's kernels for batch normalisation over several processes, which it has for GPUs only, on the CPU."""

from unittest.mock import patch

import torch
from torch import library, nn

LIBRARY = library.Library("aten", "IMPL", "CPU")


def _over(tensor: torch.Tensor) -> list[int]:
    return [axis for axis in range(tensor.ndim) if axis != 1]


def _along(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values.view(1, -1, *[1] * (like.ndim - 2))


def _stats(rows, eps):
    variance, mean = torch.var_mean(rows, _over(rows), correction=0)
    return mean, (variance + eps).rsqrt()


def _gather(rows, means, scales, *others):
    running_mean, running_var, momentum, eps, counts = others
    counts = counts[:, None]
    total = counts.sum()
    mean = (means * counts).sum(0) / total
    variance = ((scales**-2 - eps + (means - mean) ** 2) * counts).sum(0) / total
    if running_mean is not None:
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(variance * total / (total - 1), momentum)
    return mean, (variance + eps).rsqrt()


def _elements(rows, weight, bias, mean, scale, eps):
    scale = scale if weight is None else scale * weight
    made = (rows - _along(mean, rows)) * _along(scale, rows)
    return made if bias is None else made + _along(bias, rows)


def _backward_sums(gradient, rows, mean, scale, *_others):
    of_mean = gradient.sum(_over(rows))
    of_scale = (gradient * (rows - _along(mean, rows))).sum(_over(rows))
    return of_mean, of_scale, of_scale * scale, of_mean.clone()


def _backward_elements(gradient, rows, mean, scale, *others):
    weight, of_mean, of_scale, counts = others
    total = counts.sum()
    centred = (rows - _along(mean, rows)) * _along(scale**2 * of_scale / total, rows)
    scale = scale if weight is None else scale * weight
    return (gradient - _along(of_mean / total, rows) - centred) * _along(scale, rows)


def on_cpu() -> None:
    """Let torch's SyncBatchNorm work on the CPU of this process."""
    forward = nn.SyncBatchNorm.forward

    def allowed(self, rows):
        with patch.object(torch._C, "_get_privateuse1_backend_name", lambda: "cpu"):
            return forward(self, rows)

    nn.SyncBatchNorm.forward = allowed
    for name, kernel in {
        "batch_norm_stats": _stats,
        "batch_norm_gather_stats_with_counts": _gather,
        "batch_norm_elemt": _elements,
        "batch_norm_backward_reduce": _backward_sums,
        "batch_norm_backward_elemt": _backward_elements,
    }.items():
        LIBRARY.impl(name, kernel)
