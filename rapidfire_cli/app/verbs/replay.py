"""`replay`: simulate other settings of successive halving on recorded runs, or check recorded decisions."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, cast

from rapidfire_cli.app.files import reload
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.printing import print_either
from rapidfire_cli.facts import BracketBegun, Decision, RunJoined
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.schedule.replay import Replay
from rapidfire_cli.schedule.replay import replay as replayed
from rapidfire_cli.stopping.bracket import bracket_state
from rapidfire_cli.stopping.halving import HalvingRule
from rapidfire_cli.stopping.registry import rule_of
from rapidfire_cli.stopping.rule import ForkingPolicy, Vacancy
from rapidfire_cli.store.curves import Compared, compared, curves, paces
from rapidfire_cli.store.history import Past, bracket_events, goals, history
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.store.ranking import direction_of, ranking
from rapidfire_cli.terms import Direction, Fork, Objective, Plain, Proposal
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.replay import (
    ForkedAgain,
    ProposedAgain,
    Rehearsal,
    forks_document,
    forks_line,
    rehearsal_document,
    rehearsal_line,
    replay_document,
    replay_lines,
    replay_records,
    search_document,
    search_line,
)

FACTOR = 3  # the default factor (Li et al. 2018 use 4, hyperband 3)


@dataclass(frozen=True, slots=True)
class Setting:
    """The settings to change; None keeps the recorded value."""

    reduction_factor: int | None = None
    min_epochs: int | None = None
    mode: Literal["sync", "async"] | None = None
    metric: str | None = None
    direction: Direction | None = None


def replay(experiment: str | None, parent: str | None, setting: Setting, slots: int, output: Output) -> int:
    """Print what the setting would have chosen and cost; without one, check the ledger.

    Raises Refusal when the setting fits no run.
    """
    seen = open_overview(experiment, parent, unlisted=setting == Setting())
    past = history(seen.home.journal)
    if setting == Setting():
        return _rehearse(seen, past, output)
    found = [*_replays(seen, past, setting, slots)]
    print_either(
        output,
        lambda: sys.stdout.writelines(f"{line}\n" for each in found for line in replay_lines(each)),
        lambda: {"experiment": seen.metadata.experiment, "replays": [*map(replay_document, found)]},
        lambda: (record for each in found for record in replay_records(each)),
    )
    return 0


def _replays(seen: Overview, past: Sequence[Past], setting: Setting, slots: int) -> Iterator[Replay]:
    took = paces(seen.home.journal, seen.metadata.chunks)
    usual = sum(took.values()) / len(took) if took else 1.0
    for each in compared(seen, past):
        rule = _rule(each, seen.metadata.objective, setting)
        ranking(each.rows, Objective(rule.metric, rule.direction))  # raises Refusal for an unknown metric
        known = curves(each.rows, past, rule.metric)
        instead = each.rule.word if each.rule else None
        yield replayed(rule, known, slots, lambda run, epochs: epochs * took.get(run, usual), instead)


def _rule(each: Compared, objective: Objective, setting: Setting) -> HalvingRule:
    """The rule to simulate: the setting, else the runs' own rule, else the defaults. Raises Refusal."""
    metric, direction = _compared_by(each, objective, setting)
    before = each.rule.ladder if each.rule else None
    rule = HalvingRule(
        metric,
        direction,
        setting.min_epochs or (before.min_epochs if before else 1),
        each.epochs,
        setting.reduction_factor or (before.reduction_factor if before else FACTOR),
        setting.mode or (before.mode if before else "sync"),
    )
    if rule.min_epochs > rule.max_epochs:
        found, expected = (
            f"a first rung at {rule.min_epochs} epochs",
            f"at most {rule.max_epochs}, the epochs of the runs",
        )
        raise Refusal([Problem("E310", "max_epochs is below the first rung", found=found, expected=expected)])
    return rule


def _compared_by(each: Compared, objective: Objective, setting: Setting) -> tuple[str, Direction]:
    usual = each.rule or objective
    if setting.metric in (None, usual.metric):
        return usual.metric, setting.direction or usual.direction
    return setting.metric, setting.direction or direction_of(setting.metric, each.rows)


def _rehearse(seen: Overview, past: Sequence[Past], output: Output) -> int:
    """Replay every bracket and search, and compare decisions and proposals with the recorded ones."""
    found = [_rehearsed(event, past) for event in past if isinstance(event, BracketBegun)]
    proposed = [*_proposals(seen, past)]
    if not found and not proposed:
        print(
            "these runs had no early stopping; --reduction-factor or --min-epochs simulates it",
            file=sys.stderr,
        )
    forked = [*_forks(seen, past)]
    lines = [*map(rehearsal_line, found), *map(search_line, proposed), *map(forks_line, forked)]
    brackets: list[Plain] = [*map(rehearsal_document, found)]
    searched: list[Plain] = [*map(search_document, proposed)]
    populations: list[Plain] = [*map(forks_document, forked)]
    print_either(
        output,
        lambda: sys.stdout.writelines(f"{line}\n" for line in lines),
        lambda: {
            "brackets": brackets,
            **({"searches": searched} if searched else {}),
            **({"populations": populations} if populations else {}),
        },
        lambda: chain(
            map(rehearsal_document, found), map(search_document, proposed), map(forks_document, forked)
        ),
    )
    follows = (all(each.agrees for each in part) for part in (found, proposed, forked))
    return int(not all(follows))


def _proposals(seen: Overview, past: Sequence[Past]) -> Iterator[ProposedAgain]:
    """Compute every proposal once more. Raises Unavailable if its sampler is missing."""
    if not any(isinstance(row.origin, Proposal) for row in seen.rows):
        return
    from rapidfire_cli.app.searching import check_sampler
    from rapidfire_cli.search.answering import answer
    from rapidfire_cli.search.proposing import asked_again, searches

    check_sampler(file := reload(seen.home.file))
    runs = [known.run for known in known_runs(seen.home.journal, seen.metadata.chunks)]
    for each in searches(file):
        values = {run: curve.values for run, curve in curves(seen.rows, past, each.search.metric).items()}
        born = [run for run in runs if isinstance(run.origin, Proposal) and run.origin.search == each.name]
        asked = {run: asked_again(file, each, run, runs, values) for run in born}
        changed = [run for run in born if asked[run].digest != cast("Proposal", run.origin).basis]
        other = [run for run in born if run not in changed and answer(asked[run]) != run.config]
        numbers = [tuple(run.number for run in found) for found in (other, changed)]
        yield ProposedAgain(each.group, each.search.sampler, len(born), *numbers)


def _forks(seen: Overview, past: Sequence[Past]) -> Iterator[ForkedAgain]:
    """Make every fork once more."""
    if not any(isinstance(row.origin, Fork) for row in seen.rows):
        return
    from rapidfire_cli.search.forking import forked_again, populations

    file = reload(seen.home.file)
    runs = {known.run.number: known.run for known in known_runs(seen.home.journal, seen.metadata.chunks)}
    places = _vacancies(past)
    for each in populations(file):
        born = [
            run
            for run in runs.values()
            if isinstance(run.origin, Fork) and run.origin.population == each.name
        ]
        known = [run for run in born if run.number in places]
        other = [run.number for run in known if not forked_again(file, each, run, places[run.number], runs)]
        lost = [run.number for run in born if run.number not in places]
        yield ForkedAgain(each.group, len(born), tuple(other), tuple(lost))


def _vacancies(past: Sequence[Past]) -> dict[int, Vacancy]:
    """By fork: the place that it took."""
    found: dict[int, Vacancy] = {}
    for began in [event for event in past if isinstance(event, BracketBegun)]:
        state = bracket_state(rule_of(began.rule), began.bracket, began.goals, ())
        for event in bracket_events(began, past) if isinstance(state.policy, ForkingPolicy) else ():
            policy = state.policy
            if isinstance(event, RunJoined) and isinstance(policy, ForkingPolicy):
                taken = next((each for each in policy.vacancies if each.left == event.epochs), None)
                found |= {event.run: taken} if taken else {}
            state.report(event)
    return found


def _rehearsed(began: BracketBegun, past: Sequence[Past]) -> Rehearsal:
    rule = rule_of(began.rule)
    again = bracket_state(rule, began.bracket, began.goals, bracket_events(began, past)).decisions
    kept = [event for event in past if isinstance(event, Decision) and event.bracket == began.bracket]
    return Rehearsal(began.bracket, rule, len(goals(began, past)), tuple(kept), tuple(again))
