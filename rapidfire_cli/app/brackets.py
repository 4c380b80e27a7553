"""Early stopping for `fit`: brackets, their recorded results, and which runs are left to train."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import assert_never

from rapidfire_cli.engine.jobs import Bracket, Job, entry
from rapidfire_cli.facts import (
    BracketBegun,
    Decision,
    EpochEnded,
    RunChanged,
    RunJoined,
    RunLeft,
    RunReplaced,
)
from rapidfire_cli.manifest.brackets import BracketSpec, bracket_specs
from rapidfire_cli.stopping.bracket import bracket_state
from rapidfire_cli.stopping.registry import settings
from rapidfire_cli.stopping.rule import ForkingPolicy, Rule
from rapidfire_cli.store.history import (
    Past,
    bracket_events,
    by_bracket,
    is_apart,
)
from rapidfire_cli.store.known_runs import KnownRun
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import Run, RunState

OVER = frozenset({RunState.COMPLETED, RunState.PRUNED, RunState.STOPPED, RunState.DELETED})
NEW = 0  # in place of a bracket's number


@dataclass(frozen=True, slots=True)
class Membership:
    """A bracket before training: its number, its rule, and its requested runs."""

    number: int
    rule: Rule
    runs: tuple[Run, ...]
    group: int  # of the file
    is_open: bool = False  # whether runs that are born now may join it


def first_rule(file: ExperimentFile) -> Rule | None:
    """The rule of the file's first bracket."""
    return next((spec.rule for group in file.groups for spec in bracket_specs(group)), None)


def memberships(
    file: ExperimentFile,
    whole: Sequence[Run],
    asked: Sequence[Run],
    stood: Mapping[int, KnownRun],
    past: Sequence[Past],
    later: Sequence[Run] = (),
    proposing: Collection[int] = (),
) -> tuple[Membership, ...]:
    """The brackets of the runs `asked` for: a shard of the `whole` experiment, or all of it.

    A run stays in its bracket while the file gives it the same rule. New runs, and unfinished ones whose rule
    has changed, form new brackets: what was decided stands. Those that came `later` take others' places. Runs
    that groups are still `proposing` will join the newest bracket of their group.
    """
    left, numbers = _left(past), {run.number for run in asked}
    instead = {run.replaces: run for run in later if run.replaces is not None}
    free = 1 + max((event.bracket for event in past if isinstance(event, BracketBegun)), default=0)
    found: list[Membership] = []
    for index, spec, members in _shared(file, whole):
        parts: dict[int, list[Run]] = {}
        wanted = [run for run in members if run.number in numbers]
        for run in (each for one in wanted for each in _line(one, instead)):
            known, rule = stood.get(run.number), settings(spec.rule)
            bracket = _bracket(known, rule, left, replaced=run.number in instead)
            if bracket is not None:
                parts.setdefault(bracket, []).append(run)
        if index in proposing and not parts:
            parts[NEW] = []
        for bracket, part in parts.items():
            last = bracket == max(parts, key=lambda each: each or free)
            number = bracket or free
            is_open = (index in proposing and last) or _has_vacancies(number, spec.rule, past)
            found.append(Membership(number, spec.rule, tuple(part), index, is_open))
            free += bracket == NEW
    return tuple(found)


def _has_vacancies(bracket: int, rule: Rule, past: Sequence[Past]) -> bool:
    """Whether forks are to take places in a known bracket, whatever is left to train."""
    if not isinstance(rule.policy(), ForkingPolicy):
        return False
    for began in past:
        if isinstance(began, BracketBegun) and began.bracket == bracket:
            policy = bracket_state(rule, bracket, began.goals, bracket_events(began, past)).policy
            return isinstance(policy, ForkingPolicy) and bool(policy.vacancies)
    return False


def _line(run: Run, instead: Mapping[int, Run]) -> Iterator[Run]:
    """The run and its replacements, in order."""
    found: Run | None = run
    while found:
        yield found
        found = instead.get(found.number)


def _shared(file: ExperimentFile, runs: Sequence[Run]) -> Iterator[tuple[int, BracketSpec, list[Run]]]:
    grouped: dict[int, list[Run]] = {}
    for run in runs:
        grouped.setdefault(run.group, []).append(run)
    for index, group in enumerate(file.groups, 1):
        members = iter(grouped.get(index, ()))
        for spec in bracket_specs(group):
            yield index, spec, list(islice(members, spec.runs))


def _left(past: Sequence[Past]) -> dict[int, str]:
    """For each run that left a bracket and joined no other since: that bracket's rule."""
    rules: dict[int, str] = {}
    left: dict[int, str] = {}
    for event in past:
        match event:
            case BracketBegun(bracket, rule, runs):
                rules[bracket] = rule
                for run in runs:
                    left.pop(run, None)
            case RunJoined(run):
                left.pop(run, None)
            case RunLeft(run, bracket):
                left[run] = rules[bracket]
            case RunReplaced(_, by, int(bracket)) if is_apart(event):
                left[by.number] = rules[bracket]
            case RunReplaced() | EpochEnded() | RunChanged() | Decision():
                pass
            case _:
                assert_never(event)
    return left


def _bracket(known: KnownRun | None, rule: str, left: Mapping[int, str], replaced: bool) -> int | None:
    """The bracket that a run is in; None where it trains by itself, having left this rule or ended before."""
    if known is None:
        return NEW
    if known.rule == rule:
        return known.bracket
    return None if replaced or known.state in OVER or left.get(known.run.number) == rule else NEW


def changes(
    members: Sequence[Membership], stood: Mapping[int, KnownRun], epochs: Mapping[int, int]
) -> tuple[BracketBegun | RunLeft, ...]:
    """The changes since the last fit: runs that leave their bracket, and new brackets.

    `epochs` says how long each run trains.
    """
    homes = {run.number: member.number for member in members for run in member.runs}
    known = {standing.bracket for standing in stood.values()}
    replaced = _replaced(standing.run for standing in stood.values())
    leaving = [
        RunLeft(
            run,
            standing.bracket,
            "its early-stopping rule changed" if run in homes else "it is no longer requested",
        )
        for run, standing in stood.items()
        if standing.bracket and standing.state not in OVER and homes.get(run) != standing.bracket
        if run not in replaced  # its bracket counts it as failed
    ]
    begun = [
        BracketBegun(
            member.number,
            settings(member.rule),
            tuple(run.number for run in member.runs),
            tuple(epochs[run.number] for run in member.runs),
        )
        for member in members
        if member.number not in known
    ]
    return (*leaving, *begun)


def remaining(
    runs: Sequence[Run], stood: Mapping[int, KnownRun], members: Sequence[Membership], past: Sequence[Past]
) -> tuple[Run, ...]:
    """The runs left to train: not finished, replaced, or failed in a bracket that decided without them."""
    homes = {run.number: member.number for member in members for run in member.runs}
    passed = {(event.bracket, run) for event in past if isinstance(event, Decision) for run in event.failed}
    replaced = _replaced(runs)
    return tuple(
        run
        for run in runs
        if run.number not in replaced
        and (homes.get(run.number), run.number) not in passed
        and (run.number not in stood or stood[run.number].state not in OVER)
    )


def _replaced(runs: Iterable[Run]) -> set[int]:
    """The runs that were replaced."""
    return {run.replaces for run in runs if run.replaces is not None}


@dataclass(frozen=True, slots=True)
class Revived:
    """A bracket after replaying its recorded results, with the decisions that are new."""

    bracket: Bracket
    decisions: tuple[Decision, ...]


def revived(
    members: Sequence[Membership], jobs: Mapping[int, Job], chunks: int, past: Sequence[Past]
) -> tuple[Revived, ...]:
    """The brackets with runs left to train or to come, after replaying their recorded results."""
    alive = [member for member in members if member.is_open or any(run.number in jobs for run in member.runs)]
    told = by_bracket(past)
    return tuple(_revived(member, jobs, chunks, told[member.number]) for member in alive)


def _revived(member: Membership, jobs: Mapping[int, Job], chunks: int, past: Sequence[Past]) -> Revived:
    """The bracket after replaying its own recorded results."""
    [began] = [event for event in past if isinstance(event, BracketBegun)]
    found = bracket_state(member.rule, member.number, began.goals, bracket_events(began, past))
    known = sum(isinstance(event, Decision) for event in past)
    entries = tuple(
        replace(
            entry(jobs[run.number]),
            limit=found.limits[run.number] * chunks,
            pruned=run.number in found.pruned,
        )
        for run in member.runs
        if run.number in jobs
    )
    bracket = Bracket(member.number, found.policy, member.rule.metric, entries)
    return Revived(bracket, tuple(found.decisions[known:]))
