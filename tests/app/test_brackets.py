"""Early stopping decides the same whatever happens to the processes, and never waits for what cannot come."""

import math
import random
from pathlib import Path

import pytest

from rapidfire_cli.app.brackets import memberships
from rapidfire_cli.app.ci import Shard
from rapidfire_cli.app.verbs import fit as fitting
from rapidfire_cli.engine.driver import Driver
from rapidfire_cli.facts import BracketBegun, Decision, RunLeft
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.schedule.events import RunStopAsked
from rapidfire_cli.stopping.bracket import bracket_state
from rapidfire_cli.stopping.registry import rule_of
from rapidfire_cli.store.history import bracket_events
from rapidfire_cli.syntax.parser import parse
from rapidfire_cli.terms import Run, RunState
from tests.app.fake_workers import TRAIN, Cli, FaultRates, sha

COMPLETED, PRUNED, FAILED = RunState.COMPLETED, RunState.PRUNED, RunState.FAILED
CALM = FaultRates()


def rising(lr: float, epoch: int) -> float:
    """Learning curves that cross: who is best at first is not best in the end."""
    return math.sin(40 * lr) + epoch * math.cos(25 * lr) / 8


def by_rung(decisions: list[Decision]) -> dict[tuple[int, int], Decision]:
    found = {(decision.bracket, decision.rung): decision for decision in decisions}
    assert len(found) == len(decisions), "no rung decides twice"
    return found


def relived(cli: Cli) -> list[Decision]:
    """What each bracket decides when it hears the journal's past again, in the journal's order."""
    past = cli.past
    again: dict[int, list[Decision]] = {}
    for began in past:
        if isinstance(began, BracketBegun):
            rule = rule_of(began.rule)
            found = bracket_state(rule, began.bracket, began.goals, bracket_events(began, past))
            again[began.bracket] = list(found.decisions)
    return [again[decision.bracket].pop(0) for decision in cli.decisions]


def check_kept(cli: Cli) -> None:
    """Every pruned run has the checkpoint of the epoch at which it was judged."""
    judged = {
        verdict.run: decision.epochs
        for decision in cli.decisions
        for verdict in decision.verdicts
        if not verdict.promoted
    }
    for run, state in cli.states.items():
        if state is PRUNED:
            assert len(cli.checkpoints[run]) == judged[run]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    cli = Cli(tmp_path_factory.mktemp("calm"), rising)
    cli.fit(sha(16), CALM)
    return cli


def test_a_bracket_halves_at_each_rung_and_trains_one_run_to_the_end(undisturbed):
    sizes = [(each.epochs, each.known, each.keep) for each in undisturbed.decisions]
    assert sizes == [(1, 16, 8), (2, 8, 4), (4, 4, 2)]
    assert sorted(undisturbed.states.values()) == [COMPLETED] * 2 + [PRUNED] * 14
    check_kept(undisturbed)


@pytest.mark.parametrize("seed", range(8))
def test_a_synchronous_bracket_decides_alike_however_often_everything_dies(tmp_path, undisturbed, seed):
    cli = Cli(tmp_path, rising)
    faults = FaultRates(seed, deaths=0.02, saves=0.3, crashes=0.04)
    cli.fit_through(sha(16), faults, workers=1 + seed % 4)
    assert by_rung(cli.decisions) == by_rung(undisturbed.decisions)
    assert cli.states == undisturbed.states
    check_kept(cli)


def killed_at(moment: int, seed: int, path: Path, text: str, workers: int = 2) -> Cli:
    """An experiment whose controller dies at the moment, if it takes that long, and is continued."""
    cli = Cli(path, rising)
    if not cli.fit(text, FaultRates(seed, saves=0.3, moments=moment), workers):
        cli.fit(text, FaultRates(seed), workers)
    return cli


def moments(path: Path, text: str) -> int:
    """How many moments there are at which a controller may die."""
    faults = FaultRates(moments=10**6)
    Cli(path, rising).fit(text, faults)
    return 10**6 - int(faults.moments)


def check_killed(path: Path, undisturbed: Cli, moment: int, seed: int) -> None:
    sync = killed_at(moment, seed, path / "sync", sha(16), workers=1 + seed % 4)
    assert by_rung(sync.decisions) == by_rung(undisturbed.decisions)
    assert sync.states == undisturbed.states
    check_kept(sync)
    rushed = killed_at(moment, seed, path / "async", sha(16, mode="async"), workers=1 + seed % 4)
    assert rushed.decisions == relived(rushed)
    check_kept(rushed)


def test_a_share_of_the_moments_at_which_a_controller_may_be_killed(tmp_path, undisturbed):
    every = moments(tmp_path / "calm", sha(16))
    for seed, moment in enumerate(random.Random(4).sample(range(1, every + 1), 6)):
        check_killed(tmp_path / f"{moment}", undisturbed, moment, seed)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(8))
def test_every_moment_at_which_a_controller_may_be_killed(tmp_path, undisturbed, seed):
    for moment in range(1, moments(tmp_path / "calm", sha(16)) + 1):
        check_killed(tmp_path / f"{moment}", undisturbed, moment, seed)


@pytest.mark.parametrize("seed", range(8))
def test_an_asynchronous_brackets_ledger_reproduces_its_decisions(tmp_path, seed):
    cli = Cli(tmp_path, rising)
    faults = FaultRates(seed, deaths=0.02, saves=0.3, crashes=0.04)
    cli.fit_through(sha(16, mode="async"), faults, workers=1 + seed % 4)
    assert cli.decisions == relived(cli)
    assert set(cli.states.values()) == {COMPLETED, PRUNED}
    check_kept(cli)


def failing(lr: float, epoch: int) -> float | None:
    """Every other run fails in its second epoch."""
    return None if epoch == 2 and int(lr * 1000) % 2 else rising(lr, epoch)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_failed_runs_rank_worst_never_block_a_rung_and_are_not_tried_again_once_counted(tmp_path, mode):
    cli = Cli(tmp_path, failing)
    cli.fit(sha(16, mode=mode), CALM)
    counted = {run for decision in cli.decisions for run in decision.failed}
    assert counted and {run for run, state in cli.states.items() if state is FAILED} >= counted
    assert COMPLETED in cli.states.values()
    cli.curve = rising  # mended, too late for those that a rung has passed
    before = cli.decisions
    cli.fit(sha(16, mode=mode), CALM)
    assert cli.decisions[: len(before)] == before and cli.decisions == relived(cli)
    assert {run for run, state in cli.states.items() if state is FAILED} == counted


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("seed", range(4))
def test_a_run_that_failed_before_its_rung_decided_is_tried_again(tmp_path, undisturbed, mode, seed):
    cli = Cli(tmp_path, failing)
    faults = FaultRates(seed, saves=0.3, crashes=0.05)
    while cli.fit(sha(16, mode=mode), faults) is False:
        if FAILED in cli.states.values():
            cli.curve = rising
    assert cli.decisions == relived(cli)
    counted = {run for decision in cli.decisions for run in decision.failed}
    assert {run for run, state in cli.states.items() if state is FAILED} == counted
    if mode == "sync" and not counted:
        assert by_rung(cli.decisions) == by_rung(undisturbed.decisions)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_bracket_whose_results_are_all_worthless_still_ends(tmp_path, value):
    cli = Cli(tmp_path, lambda lr, epoch: value)
    cli.fit(sha(8), CALM)
    survivors = 0 if math.isnan(value) else 1
    assert sorted(cli.states.values()) == [COMPLETED] * survivors + [PRUNED] * (8 - survivors)


def test_a_metric_that_nobody_measures_ends_every_run_at_the_first_rung(tmp_path):
    cli = Cli(tmp_path, rising)
    cli.fit(sha(4, metric="taste"), CALM)
    assert set(cli.states.values()) == {PRUNED}


def interrupted(cli: Cli, text: str, decisions: int) -> None:
    """Fit, and die with that decision."""
    assert not cli.fit(text, FaultRates(saves=0.5, decisions=decisions))
    assert len(cli.decisions) >= decisions


@pytest.mark.parametrize(
    ("before", "decided", "after"),
    [
        ({}, 1, {"reduction_factor": 4}),
        ({}, 2, {"direction": "min"}),
        ({"min_epochs": 4}, 1, {"min_epochs": 1}),
        ({"min_epochs": 4}, 1, {"min_epochs": 1, "mode": "async"}),
        ({"mode": "async"}, 1, {"min_epochs": 3}),
        ({"mode": "async"}, 2, {"mode": "async", "min_epochs": 2}),
        ({"mode": "async"}, 3, {"mode": "sync"}),
    ],
)
def test_a_changed_rule_is_a_new_bracket_of_the_runs_that_are_not_over(tmp_path, before, decided, after):
    cli = Cli(tmp_path, rising)
    interrupted(cli, sha(16, **before), decided)
    over = {run for run, state in cli.states.items() if state in (PRUNED, COMPLETED)}
    cli.fit_through(sha(16, **after), FaultRates(3, deaths=0.02, saves=0.5, crashes=0.05))
    first, second = [event for event in cli.past if isinstance(event, BracketBegun)]
    assert set(first.runs) == set(range(1, 17)) and set(second.runs) == set(range(1, 17)) - over
    assert set(cli.states.values()) <= {COMPLETED, PRUNED}
    assert cli.decisions == relived(cli)


def test_more_runs_form_a_bracket_of_their_own(tmp_path):
    cli = Cli(tmp_path, rising)
    cli.fit(sha(8), CALM)
    before = cli.decisions
    cli.fit(sha(12), CALM)
    assert cli.decisions[: len(before)] == before
    assert {decision.bracket for decision in cli.decisions[len(before) :]} == {2}
    assert [event.runs for event in cli.past if isinstance(event, BracketBegun)][1] == (9, 10, 11, 12)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_runs_no_longer_asked_for_leave_and_train_by_themselves_when_asked_for_again(tmp_path, mode):
    cli = Cli(tmp_path, rising)
    interrupted(cli, sha(16, mode=mode), 1)
    alive = {run for run, state in cli.states.items() if state not in (PRUNED, COMPLETED)}
    cli.fit(sha(6, mode=mode), CALM)
    gone = {run for run in alive if run > 6}
    assert {event.run for event in cli.past if isinstance(event, RunLeft)} == gone
    assert cli.decisions == relived(cli)
    cli.fit(sha(16, mode=mode), CALM)
    assert {cli.states[run] for run in gone} == {COMPLETED}
    assert cli.decisions == relived(cli)


def test_early_stopping_that_is_taken_out_of_the_file_lets_runs_train_to_the_end(tmp_path):
    cli = Cli(tmp_path, rising)
    interrupted(cli, sha(16), 1)
    alive = {run for run, state in cli.states.items() if state is not PRUNED}
    cli.fit(f"mlspec: none:None\nrandomsearch: {{num_runs: 16, {TRAIN}}}\n", CALM)
    assert {cli.states[run] for run in alive} == {COMPLETED}
    assert {event.run for event in cli.past if isinstance(event, RunLeft)} == alive


def test_hyperbands_brackets_decide_each_for_itself(tmp_path):
    cli = Cli(tmp_path, rising)
    bands = f"hyperband: {{max_epochs: 8, reduction_factor: 2, metric: quality, direction: max, {TRAIN}}}"
    cli.fit_through(f"mlspec: none:None\n{bands}\n", FaultRates(5, deaths=0.02, saves=0.3, crashes=0.03), 4)
    rungs = [(each.bracket, each.epochs, each.known) for each in by_rung(cli.decisions).values()]
    assert sorted(rungs) == [(1, 1, 8), (1, 2, 4), (1, 4, 2), (2, 2, 6), (2, 4, 3), (3, 4, 4)]
    assert cli.decisions == relived(cli)


def test_several_groups_of_successive_halving_decide_each_for_itself(tmp_path):
    cli = Cli(tmp_path, rising)
    first, second = (group.splitlines()[1] for group in (sha(8), sha(4, min_epochs=2, mode="async")))
    text = f"mlspec: none:None\nconfig_group: [{{{first}}}, {{{second}}}]\n"
    cli.fit_through(text, FaultRates(5, deaths=0.02, saves=0.3, crashes=0.03), 4)
    named = {(each.bracket, verdict.run) for each in cli.decisions for verdict in each.verdicts}
    assert named == {(1, run) for run in range(1, 9)} | {(2, run) for run in range(9, 13)}
    assert {each.known for each in cli.decisions if each.bracket == 1} == {8, 4, 2}
    assert cli.decisions == relived(cli)


def test_a_shard_has_its_part_of_each_bracket(tmp_path):
    cli = Cli(tmp_path, rising)
    bands = f"hyperband: {{max_epochs: 8, reduction_factor: 2, metric: quality, direction: max, {TRAIN}}}"
    cli.fit(f"mlspec: none:None\n{bands}\n", CALM, shard=Shard(2, 2))
    begun = [event.runs for event in cli.past if isinstance(event, BracketBegun)]
    assert begun == [(2, 4, 6, 8), (10, 12, 14), (16, 18), (20, 22)]


@pytest.mark.parametrize("rule", ["rule: median, min_epochs: 2", "rule: patience, epochs: 2"])
@pytest.mark.parametrize("seed", range(4))
def test_the_ledger_of_a_rule_without_a_ladder_reproduces_its_decisions(tmp_path, rule, seed):
    cli = Cli(tmp_path, rising)
    rule = f"early_stopping: {{{rule}, metric: quality, direction: max}}"
    text = f"mlspec: none:None\nrandomsearch: {{num_runs: 12, {rule}, {TRAIN}}}\n"
    cli.fit_through(text, FaultRates(seed, deaths=0.02, saves=0.3, crashes=0.03))
    assert cli.decisions == relived(cli)
    assert set(cli.states.values()) == {COMPLETED, PRUNED}
    check_kept(cli)


def test_under_patience_a_run_ends_by_its_own_curve_whatever_happens_to_the_others(tmp_path):
    stopping = "early_stopping: {rule: patience, metric: quality, direction: max, epochs: 2}"
    text = f"mlspec: none:None\nrandomsearch: {{num_runs: 12, {stopping}, {TRAIN}}}\n"
    found = []
    for workers, faults in ((1, CALM), (3, FaultRates(2, deaths=0.02, saves=0.3, crashes=0.03))):
        cli = Cli(tmp_path / f"{workers}", rising)
        cli.fit_through(text, faults, workers)
        found.append(
            (sorted(cli.decisions, key=lambda each: (each.verdicts[0].run, each.epochs)), cli.states)
        )
    assert found[0] == found[1]
    assert set(found[0][1].values()) == {COMPLETED, PRUNED}


class Counted(tuple[Run, ...]):
    """Runs that count how often somebody goes through all of them."""

    rounds = 0

    def __iter__(self):
        Counted.rounds += 1
        return super().__iter__()


@pytest.mark.parametrize("groups", [2, 50])
def test_the_runs_are_gone_through_a_fixed_number_of_times_however_many_groups_there_are(groups):
    halving = "- sha: {num_runs: 4, min_epochs: 1, max_epochs: 4, reduction_factor: 2, metric: loss,"
    halving += (
        " direction: min, train: {batch_size: 1, optimizer: {name: SGD, args: {lr: !range [0.1, 1]}}}}\n"
    )
    file = parse(("config_group:\n" + halving * groups).encode(), "f.yaml")
    runs = Counted(expand(file))
    Counted.rounds = 0
    members = memberships(file, runs, runs, {}, ())
    assert [len(member.runs) for member in members] == [4] * groups
    assert Counted.rounds <= 3


class StopsByHand(Driver):
    """A driver that is asked to stop a run when that has finished an epoch."""

    run, epoch = 1, 1

    def _on_epoch_ended(self, report):
        super()._on_epoch_ended(report)
        if (report.run, report.epoch) == (self.run, self.epoch):
            self._tell(RunStopAsked(self.run))


MEDIAN = (
    "early_stopping: {rule: median, metric: quality, direction: max}, "
    "train: {epochs: 8, batch_size: 1, optimizer: {name: SGD, args: {lr: !range {start: 0.0, end: 1.0}}}}"
)
RULES_BY_HAND = {
    "sync": sha(8),
    "async": sha(8, mode="async"),
    "median": f"mlspec: none:None\nrandomsearch: {{num_runs: 8, {MEDIAN}}}\n",
    "patience": f"mlspec: none:None\nrandomsearch: {{num_runs: 8, {MEDIAN.replace('median', 'patience')}}}\n",
}


@pytest.mark.parametrize("rule", RULES_BY_HAND)
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_run_that_is_stopped_by_hand_leaves_its_bracket_and_the_ledger_knows(
    tmp_path, monkeypatch, rule, workers
):
    monkeypatch.setattr(fitting, "Driver", StopsByHand)
    cli = Cli(tmp_path, rising)
    cli.fit(RULES_BY_HAND[rule], FaultRates(seed=workers), workers)

    assert cli.states[1] is RunState.STOPPED
    assert {state for run, state in cli.states.items() if run != 1} <= {COMPLETED, PRUNED}
    assert [event for event in cli.past if isinstance(event, RunLeft)] == [
        RunLeft(1, 1, "stopped by the user", worst=True)
    ]
    assert relived(cli) == cli.decisions

    reached, decided = len(cli.checkpoints[1]), cli.decisions
    monkeypatch.setattr(fitting, "Driver", Driver)
    cli.fit(RULES_BY_HAND[rule], FaultRates(), workers)
    assert cli.states[1] is RunState.STOPPED
    assert (len(cli.checkpoints[1]), cli.decisions) == (reached, decided)


def test_a_stopped_run_ranks_worst_so_as_many_go_on_as_if_it_had_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "Driver", StopsByHand)
    cli = Cli(tmp_path, rising)
    cli.fit(sha(8), FaultRates())

    first = by_rung(cli.decisions)[1, 1]
    assert (first.known, first.keep) == (8, 4)
    assert sum(verdict.promoted for verdict in first.verdicts) == 4


def test_an_interrupted_run_keeps_its_bracket_and_goes_on(tmp_path):
    cli, faults = Cli(tmp_path, rising), FaultRates(seed=3, crashes=0.05)
    while cli.fit(sha(8), faults):
        faults = FaultRates(seed=faults.seed + 1, crashes=0.2)
        cli = Cli(tmp_path / f"{faults.seed}", rising)
    assert not [event for event in cli.past if isinstance(event, RunLeft)]
    cli.fit(sha(8), FaultRates())
    assert set(cli.states.values()) == {COMPLETED, PRUNED}
