"""What the ledger knows of one run: every decision that named it, and what it waits for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rapidfire_cli.engine.checkpoints import Began
from rapidfire_cli.facts import BracketBegun, Decision, RunLeft, RunsPacked, Verdict
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.stopping.bracket import BracketState, bracket_state
from rapidfire_cli.stopping.decision import Ranking, Wait
from rapidfire_cli.stopping.registry import rule_of
from rapidfire_cli.stopping.rule import ForkingPolicy, Rule
from rapidfire_cli.store.history import Past, bracket_events, goals
from rapidfire_cli.store.known_runs import WarmedBy, warmed_by
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.store.run_record import OfDevices
from rapidfire_cli.terms import UNFINISHED, Fork, OomRetry


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision that named the run, the rule by which it was taken, and what it knew."""

    rule: Rule
    decision: Decision
    verdict: Verdict
    ranking: Ranking  # follows from the past; empty where the decision does not


@dataclass(frozen=True, slots=True)
class Explanation:
    """A run, and why it is where it is."""

    row: RunRow
    brackets: int  # of the experiment
    judgements: tuple[Judgement, ...] = ()  # in the order they were passed
    counted: Decision | None = None  # the one that counted the run as failed
    left: RunLeft | None = None  # the last bracket that it left
    wait: Wait | None = None
    successor: int | None = None  # the run in its place
    began: Began | None = None  # with the epochs of another run
    warm: WarmedBy | None = None  # with the weights of another run
    devices: tuple[OfDevices, ...] = ()  # how they changed
    packing: RunsPacked | None = None  # how many runs share each GPU

    @property
    def ending(self) -> Judgement | None:
        """The decision by which a rule ended the run; nothing decides about it after that."""
        last = self.judgements[-1] if self.judgements else None
        return last if last and not last.verdict.promoted else None


def explain(seen: Overview, past: Sequence[Past], number: int) -> Explanation:
    """Collect what the journal knows about the run. Raises Refusal when it does not exist."""
    row = next((row for row in seen.rows if row.number == number), None)
    if row is None:
        raise Refusal([missing(seen, number)])
    begun = {event.bracket: event for event in past if isinstance(event, BracketBegun)}
    decisions = [event for event in past if isinstance(event, Decision)]
    known = {at: ranking for began in begun.values() for at, ranking in _rankings(began, past, number)}
    lefts = [event for event in past if isinstance(event, RunLeft) and event.run == number]
    return Explanation(
        row,
        len(begun),
        tuple(
            Judgement(
                rule_of(begun[decision.bracket].rule),
                decision,
                verdict,
                known.get((decision.bracket, decision.rung, decision.known), ()),
            )
            for decision in decisions
            for verdict in decision.verdicts
            if verdict.run == number
        ),
        next((decision for decision in reversed(decisions) if number in decision.failed), None),
        lefts[-1] if lefts else None,
        next(_waits(row, begun.values(), past), None) if row.state in UNFINISHED else None,
        _successor(seen, number),
        warm=warmed_by(seen.home.journal, number),
        packing=seen.metadata.packing,
    )


def _successor(seen: Overview, number: int) -> int | None:
    """The run that took this one's place."""
    for row in seen.rows:
        if isinstance(row.origin, OomRetry) and row.origin.run == number:
            return row.number
        if isinstance(row.origin, Fork) and row.origin.instead == number:
            return row.number
    return None


def _rankings(
    began: BracketBegun, past: Sequence[Past], number: int
) -> Iterator[tuple[tuple[int, int, int], Ranking]]:
    """What each decision knew that names the run, by bracket, rung and how much that was."""
    if number not in goals(began, past):
        return
    rule = rule_of(began.rule)
    again = bracket_state(rule, began.bracket, began.goals, ())
    for event in bracket_events(began, past):
        for decision in again.report(event):
            if any(verdict.run == number for verdict in decision.verdicts):
                yield (decision.bracket, decision.rung, decision.known), again.policy.ranking(decision)


@dataclass(frozen=True, slots=True)
class Gathering:
    """What a population waits for while it is between two rounds, or before forks are born."""

    bracket: int
    wait: Wait | None  # for the end of a round, if runs wait for it
    waiting: tuple[int, ...]  # these runs
    unborn: int  # forks that are to take a place


def gatherings(rows: Sequence[RunRow], past: Sequence[Past]) -> Iterator[Gathering]:
    """The populations of which runs wait, or forks are about to be born, in order."""
    unfinished = [row for row in rows if row.state in UNFINISHED]
    for began in [event for event in past if isinstance(event, BracketBegun)]:
        if isinstance((found := _relived(began, past)).policy, ForkingPolicy):
            waits = {
                row.number: wait
                for row in unfinished
                if row.number in found.limits and (wait := _waits_for(row, found, goals(began, past)))
            }
            unborn = len(found.policy.vacancies)
            if waits or (unborn and any(row.number in found.limits for row in unfinished)):
                yield Gathering(began.bracket, next(iter(waits.values()), None), tuple(waits), unborn)


def _waits_for(row: RunRow, found: BracketState, goals: Mapping[int, int]) -> Wait | None:
    """What the run waits for, if it has trained as far as it may."""
    wait = found.policy.waits(row.number)
    return wait if wait and found.limits[row.number] <= row.epoch < goals[row.number] else None


def _waits(row: RunRow, begun: Iterable[BracketBegun], past: Sequence[Past]) -> Iterator[Wait]:
    for began in begun:
        epochs = goals(began, past)
        if row.number in epochs and (wait := _waits_for(row, _relived(began, past), epochs)):
            yield wait


def _relived(began: BracketBegun, past: Sequence[Past]) -> BracketState:
    """The bracket's state after all its recorded results."""
    rule = rule_of(began.rule)
    heard = bracket_events(began, past)
    return bracket_state(rule, began.bracket, began.goals, heard)


def missing(seen: Overview, number: int) -> Problem:
    """The problem of a run that does not exist."""
    numbers = [row.number for row in seen.rows]
    expected = f"a number from 1 to {max(numbers):,}" if numbers else ""
    return Problem("E512", f"run {number} does not exist", found=f"{number}", expected=expected)
