"""The brackets of early stopping, rung by rung."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from rich.text import Text

from rapidfire_cli.facts import BracketBegun, Decision, RunJoined, RunLeft, RunReplaced
from rapidfire_cli.stopping.decision import number
from rapidfire_cli.stopping.registry import rule_of
from rapidfire_cli.stopping.rule import Rule
from rapidfire_cli.store.history import Ledger
from rapidfire_cli.view.wording import counted, ranges


@dataclass(slots=True)
class Rung:
    """What was decided at one rung so far."""

    epochs: int
    known: int = 0  # results
    promoted: list[int] = field(default_factory=list)
    pruned: list[int] = field(default_factory=list)
    cut: float | None = None


@dataclass(slots=True)
class BracketLines:
    """A bracket and its rungs."""

    rule: Rule
    runs: list[int]
    rungs: dict[int, Rung] = field(default_factory=dict)


def brackets(ledger: Iterable[Ledger]) -> dict[int, BracketLines]:
    """The brackets by number."""
    found: dict[int, BracketLines] = {}
    for fact in ledger:
        match fact:
            case BracketBegun(bracket, rule, runs):
                found[bracket] = BracketLines(rule_of(rule), [*runs])
            case RunJoined(run, bracket):
                found[bracket].runs.append(run)
            case Decision():
                _decide(found[fact.bracket], fact)
            case RunLeft() | RunReplaced():
                pass
            case _:
                assert_never(fact)
    return found


def bracket_lines(ledger: Iterable[Ledger], run: int | None) -> Iterator[Text]:
    """A line for each bracket and rung; that of the run comes first."""
    every = brackets(ledger)
    for place, bracket in sorted(every.items(), key=lambda each: run not in each[1].runs):
        yield Text.assemble((f"bracket {place}", "bold"), f"  {_rule(bracket)}")
        for rung, found in sorted(bracket.rungs.items()):
            yield _rung(rung, found, run)
        if not bracket.rungs:
            yield Text("  nothing decided yet", "dim")


def _decide(bracket: BracketLines, decision: Decision) -> None:
    rung = bracket.rungs.setdefault(decision.rung, Rung(decision.epochs))
    rung.known, rung.cut = max(rung.known, decision.known), decision.cut
    for verdict in decision.verdicts:
        for runs in (rung.promoted, rung.pruned):
            if verdict.run in runs:
                runs.remove(verdict.run)
        (rung.promoted if verdict.promoted else rung.pruned).append(verdict.run)


def _rule(bracket: BracketLines) -> str:
    ladder = bracket.rule.ladder
    runs = f"{counted(len(bracket.runs), 'run')} by {bracket.rule.metric}"
    if ladder is None:
        return f"{runs}, {bracket.rule.kind}"
    waiting = "" if ladder.mode == "sync" else ", without waiting"
    return f"{runs}, best 1 in {ladder.reduction_factor} promoted{waiting}"


def _rung(place: int, rung: Rung, run: int | None) -> Text:
    line = Text(f"  rung {place} ({counted(rung.epochs, 'epoch')})  {counted(rung.known, 'result')}")
    if rung.cut is not None:
        line.append(f", cut {number(rung.cut)}")
    for word, runs, style in (("promoted", rung.promoted, "green"), ("pruned", rung.pruned, "magenta")):
        if runs:
            line.append(f"  {word} ")
            line.append(_named(runs), f"bold {style}" if run in runs else style)
    return line


def _named(runs: Sequence[int]) -> str:
    """`1, 3-5 (4)`, shortened where they are many."""
    said = [*ranges(sorted(runs))]
    shown = ", ".join(said[:6]) + (" …" if len(said) > 6 else "")
    return f"{shown} ({len(runs):,})" if len(runs) > 1 else shown
