"""The process settings of torch, each with functions to read and to restore it.

To add a setting of torch, add a line to TORCH. Readers run at the end of every turn: they must be cheap, must
never raise, and must return values that can be compared with `==`. A dict is compared key by key; its writer
receives the keys to change, with None for a key to remove.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch.distributions import Distribution
from torch.nn.modules import module
from torch.optim import optimizer

Kept: TypeAlias = Literal["value", "never", "needed"]
"""How a checkpoint treats a setting that training changed. "value": it holds the value. "never": it omits it,
because no bit depends on it. "needed": it would have to hold it, but cannot."""

DEVICES = ("cpu", "cuda")
PRECISIONS = [
    *(("generic", "all"), ("cuda", "all"), ("cuda", "matmul"), ("cuda", "conv"), ("cuda", "rnn")),
    *(("mkldnn", "all"), ("mkldnn", "matmul"), ("mkldnn", "conv"), ("mkldnn", "rnn")),
]
HOOKS: list[dict[int, Any]] = [
    hooks
    for of in (module, optimizer)
    for name, hooks in vars(of).items()
    if name.startswith("_global") and isinstance(hooks, dict)
]


@dataclass(frozen=True, slots=True)
class Setting:
    """One process setting."""

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], object]
    kept: Kept = "value"
    pack: Callable[[Any], Any] = lambda value: value  # to what torch.load(weights_only=True) reads
    unpack: Callable[[Any], Any] = lambda value: value
    glance: Callable[[], Any] | None = None  # equal as long as the value is equal, and quicker to read


def switch(name: str, get: Callable[[], Any], put: Callable[..., object], kept: Kept = "value") -> Setting:
    """Create a setting whose reader returns the writer's arguments, or its single argument."""
    return Setting(name, get, lambda value: put(*value) if isinstance(value, tuple) else put(value), kept)


def _default_device() -> Any:
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return context and context.device


GUARDS: list[Any] = []  # inference mode is active as long as its guard object lives


def _put_autograd(value: tuple[bool, bool]) -> None:
    inference, grad = value
    if torch.is_inference_mode_enabled() != inference:
        guard = torch.inference_mode(inference)
        guard.__enter__()
        GUARDS.append(guard)
    torch._C._set_grad_enabled(grad)  # inference mode has changed it


def _autocast() -> tuple[Any, ...]:
    return (
        torch.is_autocast_cache_enabled(),
        *((torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)) for device in DEVICES),
    )


def _put_autocast(value: tuple[Any, ...]) -> None:
    cached, *each = value
    torch.set_autocast_cache_enabled(cached)
    for device, (enabled, dtype) in zip(DEVICES, each, strict=True):
        torch.set_autocast_enabled(device, enabled)
        torch.set_autocast_dtype(device, dtype)


def _precisions() -> tuple[Any, ...]:
    """The precisions of matrix products and convolutions, from torch's older and then its newer interface."""
    older = (_older(torch._C._get_float32_matmul_precision), _older(torch._C._get_cudnn_allow_tf32))
    return (*older, *(torch._C._get_fp32_precision_getter(*place) for place in PRECISIONS))


def _older(get: Callable[[], Any]) -> Any:
    """Read a value of the older interface; None if the newer one set what the older cannot express."""
    try:
        return get()
    except RuntimeError:
        return None


def _put_precisions(value: tuple[Any, ...]) -> None:
    matmul, cudnn, *newer = value
    if matmul is not None:
        torch._C._set_float32_matmul_precision(matmul)
    if cudnn is not None:
        torch._C._set_cudnn_allow_tf32(cudnn)
    for place, wanted in zip(PRECISIONS, newer, strict=True):
        if torch._C._get_fp32_precision_getter(*place) != wanted:
            torch._C._set_fp32_precision_setter(*place, wanted)


def _sdp() -> tuple[bool, ...]:
    return (
        torch._C._get_flash_sdp_enabled(),
        torch._C._get_mem_efficient_sdp_enabled(),
        torch._C._get_math_sdp_enabled(),
        torch._C._get_cudnn_sdp_enabled(),
    )


def _put_sdp(flash: bool, efficient: bool, math: bool, cudnn: bool) -> None:
    torch._C._set_sdp_use_flash(flash)
    torch._C._set_sdp_use_mem_efficient(efficient)
    torch._C._set_sdp_use_math(math)
    torch._C._set_sdp_use_cudnn(cudnn)


TINY = [sys.float_info.min]


def _flushes() -> bool:
    """Whether the processor flushes denormal numbers to zero; torch has no function to read this."""
    return TINY[0] / 2 == 0.0


def _hooks() -> list[dict[int, Any]]:
    return [hooks for hooks in HOOKS if hooks] and [{**hooks} for hooks in HOOKS]


def _put_hooks(value: list[dict[int, Any]]) -> None:
    for hooks, wanted in zip(HOOKS, value or [{} for _ in HOOKS], strict=True):
        hooks.clear()
        hooks.update(wanted)


PRINTED = vars(torch._tensor_str.PRINT_OPTS)

TORCH: tuple[Setting, ...] = (
    Setting("default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Setting("default device", _default_device, torch.set_default_device),
    Setting("autograd", lambda: (torch.is_inference_mode_enabled(), torch.is_grad_enabled()), _put_autograd),
    switch(
        "anomaly detection",
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        torch.set_anomaly_enabled,
    ),
    Setting("autocast", _autocast, _put_autocast),
    Setting("float32 precision", _precisions, _put_precisions),
    Setting("determinism", torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    Setting(
        "filling of new memory",
        torch._C._get_deterministic_fill_uninitialized_memory,
        torch._C._set_deterministic_fill_uninitialized_memory,
    ),
    switch(
        "fp16 reductions",
        torch._C._get_cublas_allow_fp16_reduced_precision_reduction,
        torch._C._set_cublas_allow_fp16_reduced_precision_reduction,
    ),
    switch(
        "bf16 reductions",
        torch._C._get_cublas_allow_bf16_reduced_precision_reduction,
        torch._C._set_cublas_allow_bf16_reduced_precision_reduction,
    ),
    Setting(
        "fp16 accumulation",
        torch._C._get_cublas_allow_fp16_accumulation,
        torch._C._set_cublas_allow_fp16_accumulation,
    ),
    Setting("cudnn", torch._C._get_cudnn_enabled, torch._C._set_cudnn_enabled),
    Setting("cudnn benchmark", torch._C._get_cudnn_benchmark, torch._C._set_cudnn_benchmark),
    Setting("cudnn determinism", torch._C._get_cudnn_deterministic, torch._C._set_cudnn_deterministic),
    Setting("mkldnn", torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    switch("attention kernels", _sdp, _put_sdp),
    Setting(
        "attention fast path",
        torch.backends.mha.get_fastpath_enabled,
        torch.backends.mha.set_fastpath_enabled,
    ),
    Setting("engine of quantized operators", torch._C._get_qengine, torch._C._set_qengine),
    Setting("flushing of denormal numbers", _flushes, torch.set_flush_denormal),
    Setting("threads", torch.get_num_threads, torch.set_num_threads),
    Setting("hooks of all modules", _hooks, _put_hooks, "needed"),
    Setting("torch's repeated warnings", torch.is_warn_always_enabled, torch.set_warn_always),
    Setting(
        "checks of distributions",
        lambda: Distribution._validate_args,
        Distribution.set_default_validate_args,
    ),
    Setting("torch's printing", lambda: {**PRINTED}, PRINTED.update),
    Setting(
        "sharing of tensors",
        torch.multiprocessing.get_sharing_strategy,
        torch.multiprocessing.set_sharing_strategy,
    ),
)
