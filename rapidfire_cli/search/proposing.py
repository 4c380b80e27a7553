"""What a proposal follows from, and which proposals an experiment already has.

A proposal is a function of the ledger: of the search, the place of the proposal in it, and the runs of its
group with their results. Its origin records which runs had none yet, so it can be computed again.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TypeAlias

from rapidfire_cli.manifest.filters.filter import fits
from rapidfire_cli.manifest.identity import ID_DIGITS, identify
from rapidfire_cli.manifest.size import asked
from rapidfire_cli.syntax.ast import AdaptiveSearch, ExperimentFile
from rapidfire_cli.syntax.serialize import arguments
from rapidfire_cli.terms import Plain, Proposal, Run, canonical


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The run is queued or in training."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The run has ended, with this value of the metric; None if it failed, was stopped or has none."""

    value: float | None


@dataclass(frozen=True, slots=True)
class Pruned:
    """Early stopping ended the run after an epoch, with this value of the metric."""

    epoch: int
    value: float


Outcome: TypeAlias = Unfinished | Ended | Pruned


@dataclass(frozen=True, slots=True)
class NamedSearch:
    """A search of a file."""

    group: int  # 1, 2, …
    name: str  # 16 hex digits
    search: AdaptiveSearch


@dataclass(frozen=True, slots=True)
class Question:
    """All that a proposal follows from."""

    search: AdaptiveSearch
    seed: int  # of the search
    place: int
    known: tuple[tuple[str, Outcome], ...]  # leaf configs as canonical JSON, by run number

    @property
    def digest(self) -> str:
        """A hash of all that the proposal follows from: 16 hex digits."""
        said = repr(replace(self, search=replace(self.search, num_runs=1)))  # the budget plays no part
        return sha256(said.encode()).hexdigest()[:ID_DIGITS]

    @property
    def seed_of_place(self) -> int:
        """A seed for this proposal alone."""
        return _hashed([self.seed, self.place])


def searches(file: ExperimentFile) -> Iterator[NamedSearch]:
    """The searches of the file in order.

    The name of a search hashes what its proposals depend on, apart from its budget and its filters: when
    those are edited, the search goes on with the proposals that it has.
    """
    met = Counter[str]()
    for index, group in enumerate(file.groups, 1):
        if isinstance(search := group.generator, AdaptiveSearch):
            said: dict[str, Plain] = {
                key: value
                for key, value in arguments(search).items()
                if key not in ("num_runs", "where", "exclude")
            }
            text = canonical([file.mlspec, file.data, file.seed, said])
            name = sha256(canonical([text, met[text]]).encode()).hexdigest()[:ID_DIGITS]
            met[text] += 1
            yield NamedSearch(index, name, search)


def later_runs(search: AdaptiveSearch) -> int:
    """How many runs are proposed while the others train."""
    return search.num_runs - asked(search)


def continued(file: ExperimentFile, known: Iterable[Run]) -> tuple[Run, ...]:
    """The known proposals that the searches of the file still ask for, by number, in their present groups."""
    made: dict[str, list[tuple[int, Run]]] = {}
    for run in known:
        if isinstance(run.origin, Proposal):
            made.setdefault(run.origin.search, []).append((run.origin.place, run))
    found: list[Run] = []
    for each in searches(file):
        keeps = fits(each.search)
        in_order = sorted(made.get(each.name, ()), key=lambda pair: pair[0])
        kept = [run for _, run in in_order if keeps(run.config)]
        found += [_in_group(run, each.group) for run in kept[: later_runs(each.search)]]
    return tuple(sorted(found, key=lambda run: run.number))


def still_proposing(file: ExperimentFile, proposals: Iterable[Run]) -> frozenset[int]:
    """The groups whose searches have runs left to propose after these."""
    made = Counter(run.group for run in proposals)
    return frozenset(each.group for each in searches(file) if later_runs(each.search) > made[each.group])


def question(file: ExperimentFile, each: NamedSearch, place: int, known: Mapping[Run, Outcome]) -> Question:
    """What the proposal with this place follows from; `known` are the group's runs with their outcomes."""
    in_order = sorted(known.items(), key=lambda pair: pair[0].number)
    found = tuple((run.config, outcome) for run, outcome in in_order)
    return Question(each.search, _hashed([file.seed, each.name]), place, found)


def proposed(
    file: ExperimentFile,
    each: NamedSearch,
    place: int,
    known: Mapping[Run, Outcome],
    number: int,
    config: str,
) -> Run:
    """The run with the proposed config."""
    name = identify(file.mlspec, file.data, file.seed)(config)
    cut = sorted((run.number, found.epoch) for run, found in known.items() if isinstance(found, Pruned))
    states = (_with(Unfinished(), known), _with(Ended(None), known), tuple(cut))
    origin = Proposal(each.name, place, *states, question(file, each, place, known).digest)
    return Run(number, name, each.group, config, file.seed, origin=origin)


def asked_again(
    file: ExperimentFile,
    each: NamedSearch,
    run: Run,
    runs: Iterable[Run],
    values: Mapping[int, Sequence[float | None]],
) -> Question:
    """What a recorded proposal followed from; `values` are the metric's by run number, epoch by epoch."""
    assert isinstance(run.origin, Proposal)
    origin, cut = run.origin, dict(run.origin.pruned)

    def outcome(number: int) -> Outcome:
        if number in origin.unfinished:
            return Unfinished()
        if number in origin.failed:
            return Ended(None)
        curve = values.get(number, ())
        if number in cut:
            return pruned(cut[number], curve[cut[number] - 1] if cut[number] <= len(curve) else None)
        return ended(curve[-1] if curve else None)

    others = [other for other in runs if other.group == run.group and other.number < run.number]
    return question(file, each, origin.place, {other: outcome(other.number) for other in others})


def _with(outcome: Outcome, known: Mapping[Run, Outcome]) -> tuple[int, ...]:
    return tuple(sorted(run.number for run, found in known.items() if found == outcome))


def ended(value: float | None) -> Ended:
    """The outcome of a run with this value: NaN and infinities count as none."""
    return Ended(value if value is not None and math.isfinite(value) else None)


def pruned(epoch: int, value: float | None) -> Outcome:
    """The outcome of a pruned run; without a number it has ended without a value."""
    return Pruned(epoch, value) if value is not None and math.isfinite(value) else Ended(None)


def _hashed(said: Plain) -> int:
    """A number of 32 bits, which every sampler takes as a seed."""
    return int.from_bytes(sha256(canonical(said).encode()).digest()[:4])


def _in_group(run: Run, group: int) -> Run:
    return Run(run.number, run.id, group, run.config, run.seed, run.replicate, run.origin, run.warm_start)
