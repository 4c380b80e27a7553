"""The brackets of early stopping as the page draws them: rungs, who was promoted, who was pruned."""

from collections.abc import Iterator, Sequence

from rapidfire_cli.facts import BracketBegun, Decision, RunLeft, reading
from rapidfire_cli.stopping.registry import rule_of
from rapidfire_cli.store.history import Past, goals
from rapidfire_cli.store.queries import RunRow
from rapidfire_cli.store.ranking import known_metrics
from rapidfire_cli.terms import Plain, spoken


def rungs_document(past: Sequence[Past], rows: Sequence[RunRow]) -> dict[str, Plain]:
    """Every bracket with its rungs; those that have not decided yet have no verdicts."""
    known = known_metrics(rows)
    return {"brackets": [_bracket(event, past, known) for event in past if isinstance(event, BracketBegun)]}


def _bracket(began: BracketBegun, past: Sequence[Past], known: dict[str, dict[str, None]]) -> Plain:
    rule = rule_of(began.rule)
    decisions = [each for each in past if isinstance(each, Decision) and each.bracket == began.bracket]
    split, name = reading(known, rule.metric)
    left = [each for each in past if isinstance(each, RunLeft) and each.bracket == began.bracket]
    return {
        "number": began.bracket,
        "rule": type(rule).__name__,
        "metric": name,
        "split": split,
        "direction": rule.direction,
        "runs": [*sorted(goals(began, past))],
        "left": [{"run": each.run, "cause": each.cause} for each in left],
        "rungs": [*_rungs(rule.ladder.levels if rule.ladder else (), decisions)],
    }


def _rungs(levels: Sequence[int], decisions: Sequence[Decision]) -> Iterator[Plain]:
    """Each level of a ladder, or else each epoch at which something was decided, with all its verdicts."""
    for epochs in sorted({*levels, *(each.epochs for each in decisions)}):
        here = [each for each in decisions if each.epochs == epochs]
        yield {
            "epochs": epochs,
            "decided": bool(here),
            "cut": spoken(here[-1].cut) if here else None,
            "known": here[-1].known if here else 0,
            "keep": here[-1].keep if here else 0,
            "verdicts": [
                [verdict.run, spoken(verdict.value), verdict.rank, verdict.promoted]
                for each in here
                for verdict in each.verdicts
            ],
            "failed": [*dict.fromkeys(run for each in here for run in each.failed)],
        }
