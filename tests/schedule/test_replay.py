"""A replay is the real rule on recorded curves, and says where they end too early for it."""

from hypothesis import given
from hypothesis import strategies as st

from rapidfire_cli.schedule.replay import Curve, Replay, replay
from rapidfire_cli.stopping.bracket import bracket_state
from rapidfire_cli.stopping.halving import HalvingRule
from tests.schedule.simulated_cluster import epoch_ended

WHOLE = {run: Curve(tuple(run + epoch / 10 for epoch in range(8))) for run in range(1, 9)}
CUT = {**WHOLE, 7: Curve(WHOLE[7].values[:1]), 8: Curve(WHOLE[8].values[:2])}


def replayed(
    curves: dict[int, Curve], mode="sync", least: int = 1, factor: int = 2, slots: int = 2
) -> Replay:
    rule = HalvingRule("loss", "min", least, 8, factor, mode)
    return replay(rule, curves, slots, lambda run, epochs: float(epochs))


def test_whole_curves_tell_everything():
    found = replayed(WHOLE)
    assert [(step.epochs, step.runs, step.promoted) for step in found.steps()] == [
        (1, (1, 2, 3, 4, 5, 6, 7, 8), (1, 2, 3, 4)),
        (2, (1, 2, 3, 4), (1, 2)),
        (4, (1, 2), (1,)),
    ]
    assert (found.chosen, found.unknown) == (1, set())
    assert sum(found.epochs.values()) == 20 == sum(found.timeline.busy)


def test_another_factor_and_another_first_rung_choose_and_cost_otherwise():
    found = replayed(WHOLE, least=2, factor=3)
    assert [(step.epochs, len(step.runs), step.promoted) for step in found.steps()] == [
        (2, 8, (1, 2)),
        (6, 2, (1,)),
    ]
    assert sum(found.epochs.values()) == 8 * 2 + 2 * 4 + 2


def test_a_curve_that_ends_too_early_is_told_and_its_last_value_taken():
    found = replayed(CUT, least=2)
    assert [step.unknown for step in found.steps()] == [(7,), ()]
    assert (found.chosen, found.unknown) == (1, {7})


def test_a_chosen_run_that_was_cut_is_unknown_too():
    found = replayed({run: Curve(curve.values[:4]) for run, curve in WHOLE.items()})
    assert (found.chosen, found.unknown) == (1, {1})


def test_a_failed_run_shows_no_more_and_costs_what_it_trained():
    found = replayed({**WHOLE, 1: Curve((0.0, 0.0), failed=True)}, least=4)
    assert found.epochs[1] == 2
    assert 1 not in next(found.steps()).promoted
    assert found.unknown == set()


def test_without_a_number_nobody_is_chosen():
    assert replayed(dict.fromkeys(range(1, 5), Curve((float("nan"),) * 8))).chosen is None


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=8, max_size=8), min_size=1, max_size=12), st.integers(1, 4)
)
def test_whole_curves_decide_as_a_bracket_did_that_heard_them(values, slots):
    curves = {run: Curve(tuple(curve)) for run, curve in enumerate(values, 1)}
    goals = dict.fromkeys(curves, 8)
    found = replayed(curves, slots=slots)
    every = (epoch_ended(run, epoch, curves[run].at(epoch)) for epoch in range(1, 9) for run in curves)
    assert found.timeline.decisions == bracket_state(found.rule, 1, goals, every).decisions
