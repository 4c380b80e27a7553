"""What an MLSpec's rows draw from beside its own generators: a module, a class, slots, a bound method."""

import random

import numpy as np
import torch

GENERATOR = np.random.default_rng(1)
gauss = random.Random(2).gauss


class Shake:
    """Draws from a generator of the class."""

    generator = np.random.RandomState(3)

    def __call__(self):
        return self.generator.randn()


class Slotted:
    """Draws from a generator that is kept in a slot."""

    __slots__ = ("generator",)

    def __init__(self):
        self.generator = torch.Generator()

    def __call__(self):
        return torch.randn((), generator=self.generator).item()


SLOTTED = Slotted()


def enclosed():
    """A function that draws from two generators of its closure."""
    one, two = np.random.default_rng(5), np.random.default_rng(6)
    return lambda: [one.normal(), two.normal()]


both = enclosed()


def shaken():
    """A number from each generator."""
    return [GENERATOR.normal(), gauss(0, 1), Shake()(), SLOTTED(), *both()]
