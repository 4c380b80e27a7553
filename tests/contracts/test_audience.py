"""What every audience keeps to: it takes any fact, in any portion, none included, and raises nothing."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rapidfire_cli.app.ci import FailFast
from rapidfire_cli.engine.ports import Audience
from rapidfire_cli.engine.signals import StopSignal
from rapidfire_cli.facts import Fact, RunAdmitted
from rapidfire_cli.view.audience import JsonLines, shielded
from rapidfire_cli.view.board import fold
from rapidfire_cli.view.lines import Lines
from rapidfire_cli.view.live import Live
from tests.app import fake_workers
from tests.store.test_facts import EVERY
from tests.view.sweeps import blank, sweep
from tests.view.terminal import Screen

KNOWN = 3  # runs before the first fact


@dataclass
class Folding:
    """An audience that keeps a board, as the page and the live table do."""

    board: object = field(default_factory=lambda: blank(KNOWN))

    def tell(self, facts: list[Fact]) -> None:
        for fact in facts:
            fold(self.board, fact)  # type: ignore[arg-type]


@contextmanager
def audience(kind: str) -> Iterator[Audience]:
    lines = Lines(io.StringIO(), dict.fromkeys(range(1, KNOWN + 1), 5))
    match kind:
        case "JSON lines":
            yield JsonLines(io.StringIO())
        case "lines":
            yield lines
        case "live table":
            with Live(blank(KNOWN), Screen()) as live:
                yield live
        case "shield":

            @contextmanager
            def people() -> Iterator[Audience]:
                yield lines

            with shielded(people(), passing=()) as shield:
                yield shield
        case "fail fast":
            yield FailFast(lines, StopSignal())
        case "board":
            yield Folding()  # type: ignore[misc]
        case _:
            yield fake_workers.Audience(fake_workers.FaultRates(), [])


KINDS = ["JSON lines", "lines", "live table", "shield", "fail fast", "board", "fake"]
ORDERED = [*(fact for fact in EVERY if isinstance(fact, RunAdmitted)), *EVERY]
"""Every kind of fact, those runs first that the rest is about."""


@pytest.mark.parametrize("kind", KINDS)
def test_any_fact_may_come_alone_or_with_others_and_so_may_none(kind: str, tmp_path: Path):
    with audience(kind) as people:
        people.tell(())
        for fact in ORDERED:
            people.tell([fact])
        people.tell([])
        people.tell(ORDERED)


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_sweep_is_taken_in(kind: str):
    with audience(kind) as people:
        people.tell([*sweep(KNOWN, failing=2)])
