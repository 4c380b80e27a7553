"""What a run is and what a file describes, as hashes of canonical JSON."""

from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from typing import NamedTuple

from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.syntax.serialize import KINDS, arguments
from rapidfire_cli.terms import Plain, WarmStart, canonical

ID_DIGITS = 16  # of SHA-256's 64: among 10^6 runs a chance of 3 in 10^8 that two different ones collide


def identify(
    mlspec: str | None,
    data: dict[str, Plain] | None,
    seed: int,
    replicate: int = 0,
    warm: WarmStart | None = None,
) -> Callable[[str], str]:
    """The function from a leaf config's canonical JSON to its run's id.

    The id hashes the canonical JSON of {config, data, mlspec, replicate, seed}, `seed` being the one the run
    trains with. What merely says how runs are executed or ranked takes no part: the experiment's name, its
    objective and its execution. With a warm start, it also hashes that.
    """
    said: dict[str, Plain] = {"data": data, "mlspec": mlspec, "replicate": replicate, "seed": seed}
    shared = canonical({**said, "warm_start": asdict(warm)} if warm else said)
    opening, closing = sha256(b'{"config":'), f",{shared[1:]}"  # `config` sorts first

    def name(config: str) -> str:
        whole = opening.copy()
        whole.update(f"{config}{closing}".encode())
        return whole.hexdigest()[:ID_DIGITS]

    return name


class Replicate(NamedTuple):
    """The k-th run of each leaf config: the seed it trains with, and what names it."""

    k: int  # 0, 1, …
    seed: int
    name: Callable[[str], str]


def replicates(
    file: ExperimentFile, many: int, seed: int | None = None, warm: WarmStart | None = None
) -> tuple[Replicate, ...]:
    """As many replicates of leaf configs; the first trains with this seed, by default the file's own."""
    seeds = [seed_of(file.seed if seed is None else seed, k) for k in range(many)]
    return tuple(
        Replicate(k, each, identify(file.mlspec, file.data, each, k, warm)) for k, each in enumerate(seeds)
    )


def seed_of(seed: int, replicate: int) -> int:
    """The seed of a replicate: the file's own for the first, else the first 32 bits of SHA-256 of both."""
    if replicate == 0:
        return seed
    return int.from_bytes(sha256(canonical([seed, replicate]).encode()).digest()[:4])


def digest(file: ExperimentFile) -> str:
    """SHA-256 over the canonical JSON of {data, groups, mlspec, seed}: what is trained, without expanding it.

    Each group stands as its generator's name over its arguments and its config, value sets as one-key tables,
    keys sorted. The experiment's name, its objective and its execution take no part, nor does the order of
    keys: it decides which run comes first, not which runs there are.
    """
    groups: list[Plain] = [
        {KINDS[type(group.generator)]: arguments(group.generator)} for group in file.groups
    ]
    whole: Plain = {"data": file.data, "groups": groups, "mlspec": file.mlspec, "seed": file.seed}
    return sha256(canonical(whole).encode()).hexdigest()
