"""Rungs, brackets and what they cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidfire_cli.manifest.counting import count
from rapidfire_cli.manifest.rungs import Rung, brackets, run_epochs, rungs
from rapidfire_cli.stopping.ladder import levels
from rapidfire_cli.syntax.ast import Group, Hyperband, SuccessiveHalving


def halving(runs: int, least: int, most: int, factor: int, **more) -> SuccessiveHalving:
    return SuccessiveHalving({}, runs, least, most, factor, "loss", "min", **more)


def ladder(search: SuccessiveHalving | Hyperband) -> list[tuple[int, int, int]]:
    return [(rung.bracket, rung.epochs, rung.runs) for rung in rungs(search)]


def test_of_eight_runs_eight_train_one_epoch_four_two_two_four_and_one_eight():
    assert rungs(halving(8, 1, 8, 2)) == (Rung(1, 1, 8), Rung(1, 2, 4), Rung(1, 4, 2), Rung(1, 8, 1))


@pytest.mark.parametrize(
    ("first", "most", "factor", "found"),
    [
        (1, 8, 2, (1, 2, 4)),  # a level equal to the end decides nothing
        (1, 9, 2, (1, 2, 4, 8)),
        (2, 7, 3, (2, 6)),
        (4, 4, 2, ()),
        (1, 1, 2, ()),
    ],
)
def test_rungs_decide_below_the_end_only(first, most, factor, found):
    assert levels(first, most, factor) == found


def test_the_early_stopping_rate_skips_the_lowest_rungs():
    (bracket,) = brackets(halving(9, 1, 27, 3, min_early_stopping_rate=1))
    assert (bracket.runs, bracket.min_epochs, bracket.levels) == (9, 3, (3, 9))


def test_at_least_one_run_goes_on():
    assert ladder(halving(2, 1, 9, 3)) == [(1, 1, 2), (1, 3, 1), (1, 9, 1)]


def test_hyperband_has_the_brackets_of_its_paper():
    """Li et al. (2018), table 1: R = 81, η = 3."""
    search = Hyperband({}, 81, "loss", "min")
    assert [(bracket.runs, bracket.min_epochs) for bracket in brackets(search)] == [
        (81, 1),
        (34, 3),
        (15, 9),
        (8, 27),
        (5, 81),
    ]
    assert [step for step in ladder(search) if step[0] == 2] == [
        (2, 3, 34),
        (2, 9, 11),
        (2, 27, 3),
        (2, 81, 1),
    ]
    assert count(Group(search)) == 81 + 34 + 15 + 8 + 5


def test_replicates_climb_beside_one_another():
    assert ladder(halving(4, 1, 4, 2, replicates=2)) == [(1, 1, 8), (1, 2, 4), (1, 4, 2)]
    search = Hyperband({}, 9, "loss", "min", replicates=2)
    assert [bracket.runs for bracket in brackets(search)] == [18, 10, 6]
    assert count(Group(search)) == 34


factors, starts, spans = st.integers(2, 5), st.integers(1, 9), st.integers(0, 400)


@given(starts, spans, factors)
def test_each_bracket_of_hyperband_has_one_rung_less_than_the_one_before(least, span, factor):
    found = brackets(Hyperband({}, least + span, "loss", "min", least, factor))
    assert [len(bracket.levels) for bracket in found] == list(range(len(found) - 1, -1, -1))
    assert all(least <= bracket.min_epochs <= least + span for bracket in found)
    assert found[-1].min_epochs == least + span


def test_what_is_cut_costs_less():
    cost = run_epochs(halving(8, 1, 8, 2))
    assert (cost.least, cost.most, cost.uncut) == (8 * 1 + 4 * 1 + 2 * 2 + 1 * 4, 20, 64)


def test_promoting_without_waiting_may_cost_more_but_beats_one_run_per_rung():
    cost = run_epochs(halving(8, 1, 8, 2, mode="async"))
    assert (cost.least, cost.most, cost.uncut) == (20, 8 * 1 + 7 * 1 + 6 * 2 + 5 * 4, 64)


@given(st.integers(1, 50), starts, spans, factors)
def test_costs_are_in_order(runs, least, span, factor):
    for search in (
        halving(runs, least, least + span, factor, mode="async"),
        Hyperband({}, least + span, "loss", "min", least, factor),
    ):
        cost = run_epochs(search)
        assert cost.least <= cost.most <= cost.uncut
