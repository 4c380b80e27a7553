"""What a file describes: each group, and the whole."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from rapidfire_cli.manifest.counting import count, everything, proposals, total
from rapidfire_cli.manifest.filters.filter import filters
from rapidfire_cli.manifest.identity import digest
from rapidfire_cli.manifest.rungs import RunEpochs, Rung, run_epochs, rungs
from rapidfire_cli.manifest.sampling import Fractions, streams, tried
from rapidfire_cli.manifest.size import asked
from rapidfire_cli.syntax.ast import (
    AdaptiveSearch,
    Bracketed,
    Config,
    ExperimentFile,
    Generator,
    GridSearch,
    Group,
    PopulationTraining,
)
from rapidfire_cli.syntax.serialize import KINDS
from rapidfire_cli.terms import Plain

LOOKED_AT = 10_000  # draws: half a second's (assumed); beyond this the number of removed runs is not computed


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary of a group, for people."""

    index: int  # 1, 2, …
    kind: str  # config, gridsearch, randomsearch, sha, …
    path: str  # config_group[2]
    count: int  # of its runs
    replicates: int = 1
    unfiltered: int | None = None  # where there are filters: its runs before them
    rungs: tuple[Rung, ...] = ()  # of successive halving, bracket by bracket
    run_epochs: RunEpochs | None = None  # where there are rungs
    sampler: str = ""  # of a search
    proposed: int = 0  # runs that a search proposes while others train, or forks of a population
    forks: int = 0  # of a population, after each round; without rounds, at most after as many epochs
    perturb_every: int = 0  # epochs of a round, or of each run's interval
    mode: str = "sync"  # of a population: whether it trains in rounds (sync) or not (async)


def summaries(file: ExperimentFile) -> tuple[Summary, ...]:
    """The groups in file order, counted without being expanded."""
    return tuple(
        Summary(
            index,
            KINDS[type(group.generator)],
            path(group),
            count(group),
            group.generator.replicates,
            _unfiltered(group.generator, fractions),
            *_ladder(group.generator),
            group.generator.sampler if isinstance(group.generator, AdaptiveSearch) else "",
            proposals(group),
            **_rounds(group.generator),
        )
        for index, (group, fractions) in enumerate(zip(file.groups, streams(file), strict=True), 1)
    )


def _unfiltered(generator: Generator, fractions: Fractions | None) -> int | None:
    """The runs that the group would have without its filters: of a search, those it had to draw."""
    if isinstance(generator, Config) or not filters(generator):
        return None
    if isinstance(generator, GridSearch):
        return everything(generator) * generator.replicates
    if fractions is None or asked(generator) > LOOKED_AT:
        return None
    return sum(1 for _ in tried(generator, fractions, None)) * generator.replicates


def _ladder(generator: Generator) -> tuple[tuple[Rung, ...], RunEpochs | None]:
    if isinstance(generator, PopulationTraining):
        cost = generator.population * generator.epochs
        return (), RunEpochs(cost, cost, cost)
    return (rungs(generator), run_epochs(generator)) if isinstance(generator, Bracketed) else ((), None)


def _rounds(generator: Generator) -> dict[str, Any]:
    """What a population's summary has beside that of other groups."""
    if not isinstance(generator, PopulationTraining):
        return {}
    return {"forks": generator.forks, "perturb_every": generator.perturb_every, "mode": generator.mode}


def path(group: Group) -> str:
    """The path of a group, with list items counted from 1: `config_group[2]`; `gridsearch` at top level."""
    kind = KINDS[type(group.generator)]
    steps = group.at[:-1] if len(group.at) > 1 and group.at[-1] == kind else group.at
    return "".join(f"[{step + 1}]" if isinstance(step, int) else step for step in steps) or kind


def description(file: ExperimentFile) -> dict[str, Plain]:
    """What the file describes, apart from the runs themselves, as plain data."""
    return {
        "experiment": file.name,
        "mlspec": file.mlspec,
        "seed": file.seed,
        "digest": digest(file),
        "count": total(file),
        "groups": [_plain(summary) for summary in summaries(file)],
    }


def _plain(summary: Summary) -> dict[str, Plain]:
    """The summary's fields without those at their default."""
    unsaid = {field.name: field.default for field in fields(summary)}
    return {key: value for key, value in asdict(summary).items() if value != unsaid[key]}
