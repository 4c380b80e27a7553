"""Print replays: what other settings would have chosen and cost, and whether recorded decisions hold."""

from collections.abc import Iterator
from dataclasses import dataclass

from rapidfire_cli.facts import Decision
from rapidfire_cli.schedule.replay import Replay, Step
from rapidfire_cli.stopping.decision import number
from rapidfire_cli.stopping.halving import HalvingRule
from rapidfire_cli.stopping.rule import Rule
from rapidfire_cli.terms import Plain, spoken
from rapidfire_cli.view.results import numbers_text
from rapidfire_cli.view.wording import counted, duration_text, numbered


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A bracket's recorded decisions, and the decisions recomputed from the recorded results."""

    bracket: int
    rule: Rule
    runs: int
    kept: tuple[Decision, ...]
    again: tuple[Decision, ...]

    @property
    def agrees(self) -> bool:
        """Whether every kept decision follows; NaN is equal to itself here."""
        return repr(self.again[: len(self.kept)]) == repr(self.kept)


@dataclass(frozen=True, slots=True)
class ProposedAgain:
    """A search's recorded proposals, computed once more from the recorded results."""

    group: int
    sampler: str
    proposals: int
    differing: tuple[int, ...]  # runs that would be proposed with another config
    changed: tuple[int, ...]  # runs whose search had other filters or runs then: they cannot be checked

    @property
    def agrees(self) -> bool:
        """Whether every proposal follows."""
        return not self.differing


@dataclass(frozen=True, slots=True)
class ForkedAgain:
    """A population's recorded forks, made once more from the recorded decisions."""

    group: int
    forks: int
    differing: tuple[int, ...]  # runs that would be forked from another run, or with another config
    changed: tuple[int, ...]  # runs whose decision is not recorded: they cannot be checked

    @property
    def agrees(self) -> bool:
        """Whether every fork follows."""
        return not self.differing


def forks_line(found: ForkedAgain) -> str:
    """`population in group 1: 6 forks, all follow from the recorded decisions`."""
    holds = f"{'the others' if found.changed else 'all'} follow from the recorded decisions"
    if found.differing:
        holds = f"those of {numbered(found.differing)} do NOT follow from the recorded decisions"
    if found.changed:
        holds += f"; {numbered(found.changed)} cannot be checked, as their decisions are not recorded"
    return f"population in group {found.group}: {counted(found.forks, 'fork')}, {holds}"


def forks_document(found: ForkedAgain) -> dict[str, Plain]:
    """The same for programs."""
    return {
        "group": found.group,
        "forks": found.forks,
        "differing": [*found.differing],
        "changed": [*found.changed],
        "agrees": found.agrees,
    }


def search_line(found: ProposedAgain) -> str:
    """`search in group 1: 30 proposals by tpe, all follow from the recorded results`."""
    holds = f"{'the others' if found.changed else 'all'} follow from the recorded results"
    if found.differing:
        holds = f"those of {numbered(found.differing)} do NOT follow from the recorded results"
    if found.changed:
        holds += f"; {numbered(found.changed)} cannot be checked, as the file or its runs have changed since"
    made = f"{counted(found.proposals, 'proposal')} by {found.sampler}"
    return f"search in group {found.group}: {made}, {holds}"


def search_document(found: ProposedAgain) -> dict[str, Plain]:
    """The same for programs."""
    return {
        "group": found.group,
        "sampler": found.sampler,
        "proposals": found.proposals,
        "differing": [*found.differing],
        "changed": [*found.changed],
        "agrees": found.agrees,
    }


def rehearsal_line(found: Rehearsal) -> str:
    """`bracket 1: 16 runs by top1_accuracy; 4 decisions, all follow from the recorded results`."""
    decisions = counted(len(found.kept), "decision")
    holds = (
        "all follow from the recorded results"
        if found.agrees
        else "they do NOT follow from the recorded results"
    )
    runs = counted(found.runs, "run")
    return f"bracket {found.bracket}: {runs} by {found.rule.metric}; {decisions}, {holds}"


def rehearsal_document(found: Rehearsal) -> dict[str, Plain]:
    """The same for programs."""
    return {
        "bracket": found.bracket,
        "metric": found.rule.metric,
        "runs": found.runs,
        "decisions": len(found.kept),
        "agrees": found.agrees,
    }


def replay_lines(found: Replay) -> Iterator[str]:
    """The lines of a replay: its settings, each rung, the chosen run, the cost, and what is unknown."""
    yield _setting(found.rule, len(found.curves))
    if found.instead:
        yield f"  instead of `rule: {found.instead}`, which cannot be simulated with other settings"
    yield from map(_step, found.steps())
    yield f"  chosen: {_choice(found)}"
    yield f"  cost: {_cost(found)}"
    if found.unknown:
        yield f"  unknown: {_unknown(found)}"


def replay_document(found: Replay) -> dict[str, Plain]:
    """The same for programs."""
    chosen = found.chosen
    return {
        "runs": [*found.curves],
        "metric": found.rule.metric,
        "direction": found.rule.direction,
        "mode": found.rule.mode,
        "instead_of": found.instead,
        "reduction_factor": found.rule.reduction_factor,
        "min_epochs": found.rule.min_epochs,
        "max_epochs": found.rule.max_epochs,
        "chosen": chosen,
        "value": spoken(found.curves[chosen].at(found.rule.max_epochs)) if chosen else None,
        "certain": not found.unknown,
        "unknown": [*sorted(found.unknown)],
        "run_epochs": sum(found.epochs.values()),
        "recorded_run_epochs": _recorded(found),
        "uncut_run_epochs": _uncut(found),
        "slots": len(found.timeline.busy),
        "seconds": found.timeline.makespan,
        "rungs": [*replay_records(found)],
    }


def replay_records(found: Replay) -> Iterator[dict[str, Plain]]:
    """Each rung of it."""
    for step in found.steps():
        yield {
            "rung": step.rung,
            "epochs": step.epochs,
            "runs": [*step.runs],
            "promoted": [*step.promoted],
            "unknown": [*step.unknown],
        }


def _setting(rule: HalvingRule, runs: int) -> str:
    waits = ", without waiting" if rule.mode == "async" else ""
    first = counted(rule.min_epochs, "epoch")
    return (
        f"{counted(runs, 'run')} by {rule.metric} ({rule.direction}): "
        f"rungs from {first} to {rule.max_epochs}, the best 1/{rule.reduction_factor} of each promoted{waits}"
    )


def _step(step: Step) -> str:
    unknown = f"; {counted(len(step.unknown), 'value')} unknown" if step.unknown else ""
    went = numbers_text(step.promoted) if step.promoted else "none"
    runs = counted(len(step.runs), "run")
    return f"  rung {step.rung} ({counted(step.epochs, 'epoch')}): {runs}, promoted: {went}{unknown}"


def _choice(found: Replay) -> str:
    chosen = found.chosen
    if chosen is None:
        return "no run"
    curve, last = found.curves[chosen], found.rule.max_epochs
    value = f"{found.rule.metric} {number(curve.at(last))}"
    if curve.knows(last):
        return f"run {chosen}, {value}"
    return f"run {chosen}, {value} after {len(curve.values)} of {last} epochs (it was not trained further)"


def _cost(found: Replay) -> str:
    recorded, uncut = _recorded(found), _uncut(found)
    slots, time = counted(len(found.timeline.busy), "slot"), duration_text(found.timeline.makespan)
    return (
        f"{sum(found.epochs.values()):,} run-epochs (recorded: {recorded:,}, "
        f"without early stopping: {uncut:,}); "
        f"{time} on {slots} at the recorded speed"
    )


def _recorded(found: Replay) -> int:
    return sum(len(curve.values) for curve in found.curves.values())


def _uncut(found: Replay) -> int:
    return len(found.curves) * found.rule.max_epochs


def _unknown(found: Replay) -> str:
    runs = "run" if len(found.unknown) == 1 else "runs"
    return (
        f"{runs} {numbers_text(found.unknown)} not trained far enough; the last recorded values were used, "
        "so decisions from the first rung with unknown values on may differ"
    )
