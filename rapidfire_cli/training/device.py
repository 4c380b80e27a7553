"""Prepare a worker's device: its threads, its name, and its memory for idle runs."""

import os

from rapidfire_cli.engine.messages import Setup

CONTEXT = (
    2**29
)  # bytes of a GPU that each process takes beside its tensors (assumed; 300 to 500 MiB are usual)
AT_REST = 0.5  # share of the free memory; the rest is for activations, batches and data (assumed)


def prepare(setup: Setup) -> tuple[str, int]:
    """Bind torch to the slot's threads and device; return the device's name and the bytes for idle runs."""
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # without it cuBLAS may vary from call to call
    import torch

    from rapidfire_cli.training import dynamo, memory, profiler

    dynamo.defer()
    profiler.listen()
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it is slow
    torch.set_num_threads(setup.threads)
    torch.set_num_interop_threads(1)
    _warm_up(setup)
    if setup.device == "cpu":
        torch.set_deterministic_debug_mode("warn")  # what most runs need, so that they need not change it
        return "cpu", int(memory.free(setup.share) * AT_REST)
    if not torch.cuda.is_available():
        cause = "was built without CUDA" if torch.version.cuda is None else "finds no GPU that it can use"
        raise RuntimeError(f"torch {torch.__version__} {cause}; `--gpus 0` trains on the CPU")
    torch.cuda.set_device(setup.device)
    free, total = torch.cuda.mem_get_info()
    if setup.share < 1:  # a run that needs more than its share runs out of memory; its neighbours do not
        own = max(0, int(total * setup.share) - CONTEXT)
        torch.cuda.set_per_process_memory_fraction(own / total)
        free = min(free, own)
    return torch.cuda.get_device_name(), max(0, free - setup.working) if setup.working else int(
        free * AT_REST
    )


def _warm_up(setup: Setup) -> None:
    """Import torchmetrics, if the first turn needs it, while the other workers start."""
    from rapidfire_cli.training.metrics import needs_torchmetrics

    if any(map(needs_torchmetrics, setup.metrics)):
        import torchmetrics.classification  # noqa: F401
