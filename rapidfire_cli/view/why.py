"""Why a run is where it is: a sentence or two for people, the same in full for programs."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import assert_never

from rapidfire_cli.manifest.codec import spelt
from rapidfire_cli.stopping.decision import Decision, Verdict, can_advance
from rapidfire_cli.stopping.median import MedianRule
from rapidfire_cli.stopping.registry import Rule
from rapidfire_cli.store.explain import Explanation, Judgement, Wait
from rapidfire_cli.store.facts import body
from rapidfire_cli.terms import Plain, RunState, spoken
from rapidfire_cli.view.wording import counted

RANKS = 1000  # that a decision is shown with, at most: `known` says how many there were (assumed)


def why(account: Explanation) -> list[str]:
    """The sentences, one to a line: where the run is and why, then what came before."""
    return [f"run {account.row.number} {_standing(account)}", *_before(account)]


def why_document(account: Explanation) -> dict[str, Plain]:
    """All that the ledger says about the run."""
    row = account.row
    return {
        "run": row.number,
        "id": row.id,
        "state": str(row.state),
        "epoch": row.epoch,
        "epochs": row.epochs,
        "why": [*why(account)],
        **({"origin": spelt(row.origin)} if row.origin else {}),
        "waits": asdict(account.wait) if account.wait else None,
        "left": body(account.left) if account.left else None,
        "counted_as_failed": body(account.counted) if account.counted else None,
        "decisions": [*judgement_records(account)],
    }


def judgement_records(account: Explanation) -> Iterator[dict[str, Plain]]:
    """Each decision that named the run, what it knew and what it meant for the run."""
    for judgement in account.judgements:
        decision = body(judgement.decision)
        verdicts, failed = decision.pop("verdicts"), decision.pop("failed")
        yield {
            **body(judgement.verdict),
            "metric": judgement.rule.metric,
            "direction": judgement.rule.direction,
            **decision,
            "verdicts": verdicts,
            "failed": failed,
            "ranked": [{"run": run, "value": spoken(value)} for run, value in judgement.ranking[:RANKS]],
        }


def _standing(account: Explanation) -> str:
    """`was pruned at rung 2 (4 epochs): …`, `completed its 8 epochs`, …"""
    row = account.row
    match row.state:
        case RunState.PRUNED if account.ending:
            return f"was pruned at {_judged(account, account.ending)}"
        case RunState.COMPLETED:
            return f"completed all its {counted(row.epochs, 'epoch')}{_alone(account)}"
        case RunState.FAILED:
            return f"failed in epoch {row.epoch + 1} of {row.epochs}: {row.error}"
        case RunState.QUEUED:
            return "is queued: it has not had a turn yet"
        case RunState.RUNNING | RunState.INTERRUPTED | RunState.STOPPED | RunState.DELETED | RunState.PRUNED:
            state = f"is {row.state}"
        case _:
            assert_never(row.state)
    return f"{state} after {row.epoch} of {counted(row.epochs, 'epoch')}{_waiting(account.wait)}"


def _alone(account: Explanation) -> str:
    return "" if account.judgements or account.left else "; no rule could end it early"


def _waiting(wait: Wait | None) -> str:
    if wait is None:
        return ""
    place = _rung(wait.rung, wait.epochs)
    return f": {place} has not decided about it yet, with {wait.known} of {wait.entrants} results known"


def _before(account: Explanation) -> Iterator[str]:
    """What else the ledger says."""
    if (origin := account.row.origin) is not None:
        outside = ", apart from the bracket, which had results of that one" if origin.apart else ""
        yield f"it took the place of run {origin.run}, which ran out of memory{outside}"
    passed = [each for each in account.judgements if each.verdict.promoted]
    if passed:
        yield "it passed " + ", ".join(_passed(account, each) for each in passed)
    if account.ending and account.row.state is not RunState.PRUNED:
        yield f"it had been pruned at {_judged(account, account.ending)}"
    if account.counted:
        rung = _rung(account.counted.rung, account.counted.epochs)
        attempts = "" if account.left else "; as that has decided, no attempt of its own will follow"
        yield f"{rung} counted it as worst{attempts}"
    elif account.row.state is RunState.FAILED and account.successor is None:
        yield "the same `fit` tries it again"
    if account.left:
        yield f"it left bracket {account.left.bracket}: {account.left.cause}"


def _passed(account: Explanation, judgement: Judgement) -> str:
    decision, verdict = judgement.decision, judgement.verdict
    known = "then known" if decision.rule == "async" else ""
    ranked = f"rank {verdict.rank} of {decision.known} {known}".rstrip()
    return f"{_place(account, decision)} with {number(verdict.value)}, {ranked}"


def _judged(account: Explanation, judgement: Judgement) -> str:
    """`rung 2 (4 epochs): top5_accuracy 0.71, rank 5 of 8, cut after rank 4 (0.78)`."""
    decision, verdict = judgement.decision, judgement.verdict
    place = _place(account, decision)
    if isinstance(judgement.rule, MedianRule):
        return f"{place}: {_against_the_median(judgement.rule, decision, verdict)}"
    value = _named(judgement.rule, verdict.value)
    return f"{place}: {value}, rank {verdict.rank} of {decision.known}, {_cut(decision, verdict)}"


def _against_the_median(rule: MedianRule, decision: Decision, verdict: Verdict) -> str:
    others = counted(decision.known - 1, "other run")
    if decision.cut is None or not _worse(rule, verdict.value, decision.cut):
        return f"its {rule.metric} came to no number"
    median = f"the median of the averages of {others}"
    return f"best {_named(rule, verdict.value)} so far, worse than {number(decision.cut)}, {median}"


def _worse(rule: Rule, value: float | None, cut: float) -> bool:
    if value is None or math.isnan(value):
        return False
    return value > cut if rule.direction == "min" else value < cut


def _cut(decision: Decision, verdict: Verdict) -> str:
    """Why this rank was not enough."""
    if not can_advance(verdict.value):
        return "and what is not a number never goes on"
    if verdict.rank <= decision.keep:
        return "and others had gone on before it"
    ties = "; of equal values the lower run number goes first" if verdict.value == decision.cut else ""
    known = " of those then known" if decision.rule == "async" else ""
    return f"cut after rank {decision.keep} ({number(decision.cut)}){known}{ties}"


def _place(account: Explanation, decision: Decision) -> str:
    """`rung 2 (4 epochs)`, with its bracket where there are several; the median rule judges every epoch."""
    bracket = f" of bracket {decision.bracket}" if account.brackets > 1 else ""
    if decision.rule == "median":
        return f"epoch {decision.epochs}{bracket}"
    return _rung(decision.rung, decision.epochs, bracket)


def _rung(rung: int, epochs: int, bracket: str = "") -> str:
    return f"rung {rung}{bracket} ({counted(epochs, 'epoch')})"


def _named(rule: Rule, value: float | None) -> str:
    return f"no {rule.metric}" if value is None else f"{rule.metric} {number(value)}"


def number(value: float | None) -> str:
    """A value in a sentence."""
    return "no value" if value is None else "NaN" if math.isnan(value) else f"{value:.4g}"
