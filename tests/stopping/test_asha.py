"""Asynchronous halving: a run goes on as soon as it is in the top 1/η of its rung."""

import math
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from rapidfire_cli.facts import Decision
from rapidfire_cli.stopping.asha import AsyncHalving
from rapidfire_cli.stopping.decision import can_advance, sort_key

LEVELS, GOAL = (1, 2, 4), 8


def bracket(runs: int, factor: int = 2) -> AsyncHalving:
    """A bracket that has begun: less is better."""
    halving = AsyncHalving(LEVELS, GOAL, factor, "min")
    assert halving.start(1, dict.fromkeys(range(1, runs + 1), GOAL)) == 1
    return halving


def verdicts(decisions: Iterable[Decision]) -> list[tuple[int, bool]]:
    """Who goes on and who does not."""
    return [(verdict.run, verdict.promoted) for decision in decisions for verdict in decision.verdicts]


def test_a_run_goes_on_as_soon_as_it_is_in_the_top():
    halving = bracket(4)
    assert halving.report(1, 1, 0.4) == []
    assert verdicts(halving.report(2, 1, 0.3)) == [(2, True)]
    assert verdicts(halving.report(3, 1, 0.5)) == []
    assert verdicts(halving.report(4, 1, 0.6)) == [(1, True), (3, False), (4, False)]


def test_a_decision_tells_what_was_known_when_it_was_taken():
    halving = bracket(4)
    halving.report(1, 1, 0.4)
    [decision] = halving.report(2, 1, 0.3)
    assert (decision.known, decision.keep, decision.cut, decision.until) == (2, 1, 0.3, 2)
    assert decision.verdicts[0].rank == 1


def test_a_rung_ends_those_behind_the_cut_when_nobody_can_enter_it_any_more():
    halving = bracket(2)
    assert verdicts(halving.report(1, 1, 0.2)) == []
    assert verdicts(halving.report(2, 1, 0.1)) == [(2, True), (1, False)]


def test_a_rung_of_fewer_than_the_factor_lets_its_best_pass_at_the_end():
    halving = bracket(2, factor=4)
    halving.report(1, 1, 0.2)
    assert verdicts(halving.report(2, 1, 0.1)) == [(2, True), (1, False)]
    assert verdicts(halving.report(2, 2, 0.1)) == [(2, True)]


def test_a_failed_run_ranks_last_and_lets_the_others_pass():
    halving = bracket(2)
    halving.report(1, 1, 0.9)
    assert verdicts(halving.withdraw(2, failed=True)) == [(1, True)]


def test_a_run_that_fails_between_its_result_and_its_promotion_holds_up_nobody():
    halving = bracket(4)
    halving.report(1, 1, 0.5)
    halving.withdraw(1, failed=True)
    found = [decision for run in (2, 3, 4) for decision in halving.report(run, 1, run / 10)]
    assert verdicts(found) == [(2, True), (3, True), (4, False)]
    assert [decision.failed for decision in found] == [(1,)] * len(found)
    assert verdicts(halving.report(2, 2, 0.1)) == []
    assert verdicts(halving.report(3, 2, 0.2)) == [(2, True), (3, False)]


def test_a_run_that_a_person_stops_is_waited_for_no_longer():
    halving = bracket(3)
    halving.report(1, 1, 0.1)
    assert verdicts(halving.report(2, 1, 0.2)) == [(1, True)]
    assert verdicts(halving.withdraw(3, failed=False)) == [(2, False)]


def test_results_that_come_before_their_run_has_entered_count_when_it_does():
    halving = bracket(2)
    halving.report(1, 1, 0.1)
    assert halving.report(1, 2, 0.1) == []
    decisions = halving.report(2, 1, 0.2)
    assert [decision.epochs for decision in decisions] == [1, 1, 2]
    assert verdicts(decisions) == [(1, True), (2, False), (1, True)]


def test_a_decision_can_be_asked_what_it_knew_though_more_came_with_the_same_result():
    halving = bracket(4)
    for run in (1, 2):
        halving.report(run, 2, run / 10)  # before they have entered: rungs 2 and 3 wait for them
    assert halving.report(1, 1, 0.1) == []
    decisions = halving.report(2, 1, 0.2) + halving.report(3, 1, 0.15) + halving.report(4, 1, 0.05)
    assert [(each.rung, halving.ranking(each)) for each in decisions] == [
        (1, ((1, 0.1), (2, 0.2))),
        (1, ((4, 0.05), (1, 0.1), (3, 0.15), (2, 0.2))),
        (1, ((4, 0.05), (1, 0.1), (3, 0.15), (2, 0.2))),
    ]


class Reference:
    """The same by sorting everything anew: slow, and plainly right."""

    def __init__(self, runs: int, factor: int) -> None:
        self.factor = factor
        self.entered = [set(range(1, runs + 1)), set(), set()]
        self.values: list[dict[int, float | None]] = [{}, {}, {}]
        self.promoted: list[set[int]] = [set(), set(), set()]
        self.failed: set[int] = set()
        self.ended: set[int] = set()

    def standing(self, run: int) -> int | None:
        """The rung that the run is to pass next; None for one that passed all, or is out."""
        rungs = [rung for rung in range(3) if run in self.entered[rung] - self.promoted[rung]]
        return None if run in self.failed | self.ended or not rungs else rungs[-1]

    def report(self, run: int, value: float | None) -> None:
        self.values[self.standing(run)][run] = value
        self.settle()

    def withdraw(self, run: int, failed: bool) -> None:
        rung = self.standing(run)
        if rung is None:
            return
        self.values[rung].pop(run, None)
        if failed:
            self.values[rung][run] = None
            self.failed.add(run)
        else:
            self.entered[rung].discard(run)
        self.settle()

    def settle(self) -> None:
        for rung in range(3):
            self.promote(rung, len(self.values[rung]) // self.factor)
        for rung in range(3):
            if any(self.entered[before] - self.values[before].keys() for before in range(rung + 1)):
                return
            if self.entered[rung]:
                left = max(1, len(self.values[rung]) // self.factor) - len(self.promoted[rung])
                waiting = [run for run in self.order(rung) if run not in self.promoted[rung]]
                self.promote_these(rung, waiting[: max(0, left)])
                gone = self.promoted[rung] | self.failed
                self.ended |= {run for run in self.entered[rung] if run not in gone}

    def order(self, rung: int) -> list[int]:
        values = self.values[rung]
        return sorted(values, key=lambda run: (sort_key(values[run], "min"), run))

    def promote(self, rung: int, keep: int) -> None:
        self.promote_these(rung, self.order(rung)[:keep])

    def promote_these(self, rung: int, runs: Iterable[int]) -> None:
        for run in runs:
            if (
                can_advance(self.values[rung][run])
                and run not in self.promoted[rung] | self.failed | self.ended
            ):
                self.promoted[rung].add(run)
                if rung < 2:
                    self.entered[rung + 1].add(run)


VALUES = st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, math.nan, None, math.inf])
DOINGS = st.tuples(st.integers(0, 99), VALUES, st.sampled_from("hhhhhhfs"))


@settings(max_examples=300, deadline=None)
@given(runs=st.integers(1, 12), factor=st.integers(2, 4), doings=st.lists(DOINGS, max_size=40))
def test_it_decides_as_the_slow_reference_does(runs, factor, doings):
    halving, reference = bracket(runs, factor), Reference(runs, factor)
    promoted: list[set[int]] = [set(), set(), set()]
    ended: set[int] = set()
    for which, value, what in doings:
        present = [run for run in range(1, runs + 1) if reference.standing(run) is not None]
        if not present:
            return
        run = present[which % len(present)]
        rung = reference.standing(run)
        if what == "h" and run not in reference.values[rung]:
            reference.report(run, value)
            decisions = halving.report(run, LEVELS[rung], value)
        else:
            reference.withdraw(run, what == "f")
            decisions = halving.withdraw(run, what == "f")
        for decision in decisions:
            promoted[decision.rung - 1] |= {one.run for one in decision.verdicts if one.promoted}
            ended |= {one.run for one in decision.verdicts if not one.promoted}
        assert (promoted, ended) == (reference.promoted, reference.ended)
