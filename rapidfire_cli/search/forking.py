"""What a fork is: the weights of a better run, with knobs that are perturbed or drawn anew.

A fork is a function of the experiment's seed, of its place in the population, and of the run that it is made
of. Jaderberg et al., "Population Based Training of Neural Networks" (2017), Algorithm 1: exploit, explore.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random
from typing import assert_never

from rapidfire_cli.manifest.filters.filter import fits
from rapidfire_cli.manifest.identity import ID_DIGITS, identify
from rapidfire_cli.search.space import (
    Choices,
    Chosen,
    Distribution,
    Floats,
    Integers,
    at,
    knobs_of,
    leaf,
    recognized,
)
from rapidfire_cli.stopping.rule import Vacancy
from rapidfire_cli.syntax.ast import ExperimentFile, PopulationTraining
from rapidfire_cli.syntax.serialize import arguments
from rapidfire_cli.terms import Fork, Plain, Run, WarmStart, canonical

FACTORS = (0.8, 1.2)  # by which a perturbed number is multiplied (Jaderberg et al. 2017)
TRIES = 100  # changes that the filters remove, before a fork keeps the knobs that it has (assumed)


@dataclass(frozen=True, slots=True)
class NamedPopulation:
    """A population of a file."""

    group: int  # 1, 2, …
    name: str  # 16 hex digits
    training: PopulationTraining


def populations(file: ExperimentFile) -> Iterator[NamedPopulation]:
    """The populations of the file in order. The name of one hashes what its forks depend on."""
    met = Counter[str]()
    for index, group in enumerate(file.groups, 1):
        if isinstance(training := group.generator, PopulationTraining):
            text = canonical([file.mlspec, file.data, file.seed, arguments(training)])
            name = sha256(canonical([text, met[text]]).encode()).hexdigest()[:ID_DIGITS]
            met[text] += 1
            yield NamedPopulation(index, name, training)


def known_forks(file: ExperimentFile, known: Iterable[Run]) -> tuple[Run, ...]:
    """The known forks of the file's populations, by number, in their present groups."""
    groups = {each.name: each.group for each in populations(file)}
    forks = ((run, run.origin.population) for run in known if isinstance(run.origin, Fork))
    found = [replace(run, group=groups[name]) for run, name in forks if name in groups]
    return tuple(sorted(found, key=lambda run: run.number))


def sources(each: NamedPopulation, seed: int, vacancy: Vacancy) -> tuple[tuple[int, int], ...]:
    """The runs to fork with their epochs: the first, and those to fork when its weights are lost."""
    first = int(_random(each, seed, vacancy.epochs, vacancy.place, "source")() * len(vacancy.sources))
    return (*vacancy.sources[first:], *vacancy.sources[:first])


def fork(
    file: ExperimentFile, each: NamedPopulation, vacancy: Vacancy, source: Run, epoch: int, number: int
) -> Run:
    """The fork that takes the place: of the source, at the end of its `epoch`-th epoch."""
    origin = Fork(each.name, vacancy.epochs, vacancy.place, source.number, vacancy.instead)
    random = _random(each, file.seed, origin.epochs, origin.place, "seed")
    seed = int(random() * 2**32)
    config, warm = _changed(file.seed, each, origin, source), WarmStart(source.id, epoch)
    name = identify(file.mlspec, file.data, seed, warm=warm)(config)
    return Run(number, name, each.group, config, seed, origin=origin, warm_start=warm)


def forked_again(
    file: ExperimentFile, each: NamedPopulation, run: Run, vacancy: Vacancy, runs: Mapping[int, Run]
) -> bool:
    """Whether a recorded fork follows from the place that it took."""
    origin, warm = run.origin, run.warm_start
    assert isinstance(origin, Fork)
    if warm is None or (origin.run, warm.epoch) not in vacancy.sources:
        return False
    return fork(file, each, vacancy, runs[origin.run], warm.epoch, run.number) == replace(
        run, group=each.group
    )


def _changed(seed: int, each: NamedPopulation, origin: Fork, source: Run) -> str:
    """The source's leaf config with changed knobs, for the epochs that are left."""
    training, config = each.training, source.leaf
    config["train"]["epochs"] = training.epochs
    known = recognized(training.tree, config)
    keeps = fits(training)
    if known is not None:  # else another config replaced it when memory ran out
        for attempt in range(TRIES):
            changed = leaf(training.tree, _chooser(seed, each, origin, known, attempt))
            if keeps(canonical(changed)):
                assert isinstance(changed, dict)
                config = changed
                break
    config["train"]["epochs"] = training.epochs - origin.epochs
    return canonical(config)


def _chooser(
    seed: int, each: NamedPopulation, origin: Fork, known: Chosen, attempt: int
) -> Callable[[str, Distribution], int | float]:
    """Chooses each parameter: the known value, perturbed or drawn anew; a drawn one where there is none."""
    training = each.training
    changing = {name for name, knob in knobs_of(training.tree) if _is_perturbed(training, knob)}

    def choose(name: str, among: Distribution) -> int | float:
        random = _random(each, seed, origin.epochs, origin.place, name, attempt)
        value = known[name].value if name in known else None
        if value is not None and name not in changing:
            return value
        if value is None or random() < training.resample:
            return at(among, random())
        return perturbed(among, value, up=random() < 0.5)

    return choose


def _is_perturbed(training: PopulationTraining, knob: str) -> bool:
    named = training.perturb
    return named is None or any(knob == each or knob.startswith(f"{each}.") for each in named)


def perturbed(among: Distribution, value: int | float, up: bool) -> int | float:
    """The value moved within its limits: a number by a factor, an alternative to the one beside it."""
    match among:
        case Choices(many):
            return min(max(int(value) + (1 if up else -1), 0), many - 1)
        case Integers(low, high, step):
            steps = round((value * FACTORS[up] - value) / step) or (1 if up else -1)
            return min(max(int(value) + steps * step, low), high)
        case Floats(low, high):
            return min(max(value * FACTORS[up], low), high)
    assert_never(among)


def _random(each: NamedPopulation, seed: int, *what: Plain) -> Callable[[], float]:
    """Randomness for one choice."""
    key = canonical([seed, each.name, *what])
    return Random(int.from_bytes(sha256(key.encode()).digest())).random
