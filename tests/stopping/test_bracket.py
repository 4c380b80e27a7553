"""A bracket hears facts, and keeps how far each of its runs may train and which ones end."""

from rapidfire_cli.facts import EpochEnded, Metric, RunChanged, RunLeft, RunReplaced
from rapidfire_cli.stopping.bracket import BracketEvent, BracketState, bracket_state
from rapidfire_cli.stopping.halving import HalvingRule
from rapidfire_cli.terms import OomRetry, Run, RunState

RULE = HalvingRule("loss", "min", min_epochs=1, max_epochs=4, reduction_factor=2)


def ended(run: int, loss: float, epoch: int = 1) -> EpochEnded:
    metrics = (Metric("train", "loss", 0.0), Metric("validation", "loss", loss))
    return EpochEnded(run, epoch, epoch, metrics, 1.0)


def after(*past: BracketEvent, runs: int = 3) -> BracketState:
    return bracket_state(RULE, 1, dict.fromkeys(range(1, runs + 1), 4), past)


def replacement(number: int, of: int, apart: bool) -> RunReplaced:
    run = Run(number, f"{number:016x}", 1, "{}", 42, origin=OomRetry(of, apart=apart))
    return RunReplaced(of, run, 1)


def test_at_first_every_run_may_train_to_the_first_rung():
    assert after().limits == {1: 1, 2: 1, 3: 1}


def test_a_decision_says_how_far_the_promoted_may_train_and_who_is_pruned():
    found = after(ended(1, 0.3), ended(2, 0.1), ended(3, 0.2))
    assert found.limits == {1: 1, 2: 2, 3: 1}
    assert found.pruned == {1, 3}
    assert len(found.decisions) == 1


def test_a_run_that_failed_counts_as_worst():
    found = after(ended(1, 0.3), ended(2, 0.1), RunChanged(3, RunState.FAILED))
    assert [decision.failed for decision in found.decisions] == [(3,)]


def test_a_run_that_left_counts_only_where_it_is_to_rank_worst():
    for worst, known in ((True, 3), (False, 2)):
        found = after(ended(1, 0.3), ended(2, 0.1), RunLeft(3, 1, "stopped by the user", worst))
        assert [decision.known for decision in found.decisions] == [known]


def test_a_replacement_takes_the_place_of_its_original_unless_it_trains_apart():
    inside = after(replacement(4, of=3, apart=False))
    assert inside.limits == {1: 1, 2: 1, 4: 1}
    assert inside.report(ended(1, 0.3)) == inside.report(ended(2, 0.1)) == []
    assert len(inside.report(ended(4, 0.2))) == 1
    apart = after(ended(1, 0.3), ended(2, 0.1), replacement(4, of=3, apart=True))
    assert [decision.failed for decision in apart.decisions] == [(3,)]
