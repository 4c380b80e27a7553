"""Random generators of every kind: read their states, seed them, restore them.

`own_generators` finds those of user code; `rng` handles the global ones of Python, NumPy and torch.
"""

import random
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Generator: TypeAlias = (
    np.random.Generator | np.random.BitGenerator | np.random.RandomState | random.Random | torch.Generator
)
KINDS = (np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random, torch.Generator)


def state_of(generator: Generator) -> Any:
    """Return the generator's state; None if it has none because it reads the system's randomness."""
    try:
        match generator:
            case np.random.Generator():
                return generator.bit_generator.state
            case np.random.BitGenerator():
                return generator.state
            case np.random.RandomState():
                return generator.get_state(legacy=False)
            case random.Random():
                return generator.getstate()
            case torch.Generator():
                return generator.get_state()
    except (NotImplementedError, AttributeError):
        return None


def reseed(generator: Generator, value: int) -> None:
    """Seed a generator with a 64-bit number."""
    match generator:
        case np.random.Generator():
            reseed(generator.bit_generator, value)
        case np.random.BitGenerator():
            generator.state = type(generator)(value).state
        case np.random.RandomState():
            reseed(generator._bit_generator, value)
            generator.set_state({**generator.get_state(legacy=False), "has_gauss": 0})
        case random.Random():
            generator.seed(value)
        case torch.Generator():
            generator.manual_seed(value)


def restore(generator: Generator, state: Any) -> None:
    """Set a state that `state_of` returned for a generator of the same kind."""
    match generator:
        case np.random.Generator():
            generator.bit_generator.state = state
        case np.random.BitGenerator():
            generator.state = state
        case np.random.RandomState():
            generator.set_state(state)
        case random.Random():
            generator.setstate(state)
        case torch.Generator():
            generator.set_state(state)


def made(kind: str, state: Any) -> Any:
    """Return a new generator of that kind and state. Raises AttributeError if NumPy has no such kind."""
    new: Any
    match kind:
        case "Generator" if isinstance(state, Tensor):
            new = torch.Generator()
        case "Generator":
            new = np.random.Generator(getattr(np.random, state["bit_generator"])())
        case "Random":
            new = random.Random()
        case _:
            new = getattr(np.random, kind)()
    restore(new, state)
    return new
