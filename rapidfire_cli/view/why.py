"""Explain a run's state: sentences for people, all details for programs."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import assert_never

from rapidfire_cli.manifest.codec import spelt
from rapidfire_cli.stopping.decision import Wait
from rapidfire_cli.store.explain import Explanation, Gathering, Judgement
from rapidfire_cli.store.facts import body, kind
from rapidfire_cli.terms import Clone, Fork, OomRetry, Plain, Proposal, RunState, spoken
from rapidfire_cli.view.lines import devices_text
from rapidfire_cli.view.wording import counted, numbered, ranges

RANKS = 1000  # that a decision is shown with, at most: `known` says how many there were (assumed)


def why(account: Explanation) -> list[str]:
    """The sentences, one per line: the run's state and its reason, then its history."""
    return [f"run {account.row.number} {_standing(account)}", *_before(account)]


def why_document(account: Explanation) -> dict[str, Plain]:
    """Everything that the ledger knows about the run, for programs."""
    row = account.row
    return {
        "run": row.number,
        "id": row.id,
        "state": str(row.state),
        "epoch": row.epoch,
        "epochs": row.epochs,
        "why": [*why(account)],
        **({"origin": spelt(row.origin)} if row.origin else {}),
        **({"began": asdict(account.began)} if account.began else {}),
        **({"warm_start": asdict(account.warm)} if account.warm else {}),
        "devices": [{"what": kind(each), **body(each)} for each in account.devices],
        "packing": asdict(account.packing) if account.packing else None,
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
    """`was pruned at rung 2 (4 epochs): …`, `completed 8 of 8 epochs`, …"""
    row = account.row
    match row.state:
        case RunState.PRUNED if account.ending:
            return f"was pruned at {_judged(account, account.ending)}"
        case RunState.COMPLETED:
            return f"completed {row.epochs} of {counted(row.epochs, 'epoch')}{_alone(account)}"
        case RunState.FAILED:
            return f"failed in epoch {row.epoch + 1} of {row.epochs}: {row.error}"
        case RunState.QUEUED if not row.step:
            return "is queued: it has not been trained yet"
        case RunState.QUEUED | RunState.RUNNING | RunState.INTERRUPTED | RunState.STOPPED:
            state = f"is {row.state}"
        case RunState.DELETED | RunState.PRUNED:
            state = f"is {row.state}"
        case _:
            assert_never(row.state)
    return f"{state} after {row.epoch} of {counted(row.epochs, 'epoch')}{_waiting(account.wait)}"


def _alone(account: Explanation) -> str:
    compared = account.judgements or account.left or isinstance(account.row.origin, Fork)
    return "" if compared else " (no early stopping)"


def _waiting(wait: Wait | None) -> str:
    if wait is None:
        return ""
    known = f"{wait.known} of {wait.entrants} results known"
    if wait.stage == "round":
        epochs = counted(wait.epochs, "epoch")
        return f": it waits for the end of round {wait.rung}, after {epochs} of the population ({known})"
    return f": {_rung(wait.rung, wait.epochs)} has not decided yet ({known})"


def gathering_text(found: Gathering) -> str:
    """`runs 1-3 wait for the end of round 2, after 4 epochs (3 of 6 results known)`."""
    told = []
    if wait := found.wait:
        runs = ", ".join(ranges(found.waiting))
        told.append(f"runs {runs} wait" if len(found.waiting) > 1 else f"run {runs} waits")
        known = f"{wait.known} of {wait.entrants} results known"
        told[-1] += f" for the end of round {wait.rung}, after {counted(wait.epochs, 'epoch')} ({known})"
    if found.unborn:
        told.append(f"{counted(found.unborn, 'fork')} {'is' if found.unborn == 1 else 'are'} not born yet")
    return "; ".join(told)


def _before(account: Explanation) -> Iterator[str]:
    """The history of the run before its state."""
    match account.row.origin:
        case OomRetry(run, apart):
            outside = "; it is outside the bracket, which already had results of that run" if apart else ""
            yield f"it replaced run {run}, which ran out of memory{outside}"
        case Clone(run):
            yield f"it was cloned from run {run}"
        case Proposal(_, place) as proposal:
            yield f"it was proposed as number {place} of its search, from {_basis(proposal)}"
        case Fork(_, epochs, _, run, instead):
            at = f"after epoch {epochs} of the population"
            yield f"it was forked from run {run} {at}, in place of run {instead}"
        case None:
            pass
        case origin:
            assert_never(origin)
    if account.warm:
        yield f"it began with {account.warm}"
    if began := account.began:
        first = "epoch is that" if began.epoch == 1 else f"{began.epoch} epochs are those"
        yield f"its first {first} of run {began.run}, from which it differs in `train.epochs` alone"
    for each in account.devices:
        yield f"it {devices_text(each)}"
    if account.packing:
        yield account.packing.why
    passed = [each for each in account.judgements if each.verdict.promoted]
    if passed:
        yield "it was promoted at " + "; ".join(_passed(account, each) for each in passed)
    if account.ending and account.row.state is not RunState.PRUNED:
        yield f"it was pruned earlier, at {_judged(account, account.ending)}"
    if account.counted:
        rung = _rung(account.counted.rung, account.counted.epochs)
        attempts = "" if account.left else "; that decision is final, so the run is not retried"
        yield f"{rung} ranked it last because it failed{attempts}"
    elif account.row.state is RunState.FAILED and account.successor is None:
        yield "rerun `fit` to retry it"
    if account.ending and account.successor is not None:
        yield f"run {account.successor} took its place"
    if account.left:
        yield f"it left bracket {account.left.bracket}: {account.left.cause}"


def _basis(proposal: Proposal) -> str:
    """What a proposal followed from: `the results of the earlier runs (run 4 was unfinished)`."""
    unfinished, failed = proposal.unfinished, proposal.failed
    was = "was" if len(unfinished) == 1 else "were"
    notes = [f"{numbered(unfinished)} {was} unfinished"] if unfinished else []
    notes += [f"{numbered(failed)} had no value"] if failed else []
    notes += [f"{numbered([run for run, _ in proposal.pruned])} had been pruned"] if proposal.pruned else []
    return (
        f"the results of the earlier runs ({', '.join(notes)})"
        if notes
        else "the results of the earlier runs"
    )


def _passed(account: Explanation, judgement: Judgement) -> str:
    """`rung 1 (1 epoch) with 0.71, rank 3 of 8`."""
    return f"{_place(account, judgement)} {judgement.rule.passed(judgement.decision, judgement.verdict)}"


def _judged(account: Explanation, judgement: Judgement) -> str:
    """`rung 2 (4 epochs): ` and what the rule says about it."""
    return f"{_place(account, judgement)}: {judgement.rule.ended(judgement.decision, judgement.verdict)}"


def _place(account: Explanation, judgement: Judgement) -> str:
    """`rung 2 (4 epochs)` of a ladder, else `epoch 4`; with its bracket where there are several."""
    decision = judgement.decision
    bracket = f" of bracket {decision.bracket}" if account.brackets > 1 else ""
    if judgement.rule.ladder is None:
        return f"epoch {decision.epochs}{bracket}"
    return _rung(decision.rung, decision.epochs, bracket)


def _rung(rung: int, epochs: int, bracket: str = "") -> str:
    return f"rung {rung}{bracket} ({counted(epochs, 'epoch')})"
