"""What this machine offers as slots: GPUs when there are any, else shares of the CPU."""

from collections.abc import Mapping
from dataclasses import dataclass

from rapidfire_cli.engine.ports import Slot


@dataclass(frozen=True, slots=True)
class Offer:
    """The devices of a machine, as the process sees them."""

    cores: int
    gpus: tuple[str, ...]  # as CUDA_VISIBLE_DEVICES names them


def visible_gpus(environment: Mapping[str, str], present: int) -> tuple[str, ...]:
    """The pool: what CUDA_VISIBLE_DEVICES names, or all that are present where it is unset."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return tuple(str(index) for index in range(present))
    listed = [name.strip() for name in named.split(",")]
    # CUDA itself stops at the first name that is no device
    return tuple(listed[: next((at for at, name in enumerate(listed) if name in ("", "-1")), len(listed))])


def slots(offer: Offer, workers: int | None, threads: int) -> tuple[Slot, ...]:
    """One slot per worker: GPUs in turn, or the CPU shared out by `threads` per worker."""
    if offer.gpus:
        count = workers or len(offer.gpus)
        names = [offer.gpus[index % len(offer.gpus)] for index in range(count)]
        return tuple(
            Slot(index, "cuda:0", visible=name, share=1 / names.count(name))
            for index, name in enumerate(names)
        )
    count = workers or max(1, offer.cores // threads)
    return tuple(Slot(index, "cpu", visible="", share=1 / count) for index in range(count))
