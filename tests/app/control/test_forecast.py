"""What a dry run says of time, from how long epochs took so far."""

import pytest

from rapidfire_cli.app.control.forecast import Forecast, forecast
from rapidfire_cli.app.control.selection import Selection
from rapidfire_cli.app.control.steering_verb import Options
from rapidfire_cli.app.verbs.resume import resume
from rapidfire_cli.facts import RunChanged, RunsPacked, TurnEnded, TurnStarted, WorkerDied, WorkerStarted
from rapidfire_cli.requests import CloneRun, Delete, Keep, Resume, Stop
from rapidfire_cli.store.pace import Pace, pace
from rapidfire_cli.terms import RunState
from tests.store.sweep import enrolled, epoch, row

ROWS = {
    1: row(1, state=RunState.RUNNING, epoch=3),  # 2 epochs left, of 10 s
    2: row(2, state=RunState.QUEUED, epoch=0),  # 5 epochs left, of 20 s on average
    3: row(3, state=RunState.PRUNED, epoch=1),  # 4 epochs left, of 30 s
    4: row(4, state=RunState.COMPLETED),
}
PACE = Pace({1: 10.0, 3: 30.0}, slots=2)


@pytest.mark.parametrize(
    ("ask", "after"),
    [
        (Stop((2,)), 20.0),
        (Delete((2, 4)), 20.0),
        (Resume((3,)), 140.0),
        (CloneRun((3,), epochs=1), 100.0),
        (CloneRun((3,)), 170.0),
    ],
)
def test_runs_that_are_left_are_simulated_with_and_without_the_request(ask, after):
    assert forecast(ask, {*ask.runs}, ROWS, PACE) == Forecast(100.0, after)


def test_nothing_is_foreseen_of_what_trains_nothing_or_before_an_epoch_was_timed():
    assert forecast(Keep((1,)), {1}, ROWS, PACE) is None
    assert forecast(Stop((2,)), {2}, ROWS, Pace({}, 2)) is None
    done = {4: ROWS[4]}
    assert forecast(CloneRun((4,), epochs=2), {4}, done, PACE) == Forecast(0.0, 40.0)


SHARDED = '{"train": {"epochs": 5}, "fsdp_layer_cls": ["torch.nn.Linear"]}'


@pytest.mark.parametrize(("gpus", "before"), [(0, 50.0), (2, 100.0), (1, 50.0)])
def test_a_run_without_a_number_of_devices_takes_all_gpus(gpus, before):
    runs = {number: row(number, state=RunState.QUEUED, epoch=0, leaf=SHARDED) for number in (1, 2)}
    assert forecast(Stop((2,)), {2}, runs, Pace({1: 10.0, 2: 10.0}, 2, gpus)) == Forecast(before, 50.0)


def worked(tmp_path, *happened):
    journal = enrolled(tmp_path / "digits" / "journal.db")
    journal.record([RunsPacked(2, "2 runs on each GPU")])
    journal.record([epoch(1, 1, 0.9), *happened])
    journal.close()
    found = pace(tmp_path / "digits" / "journal.db")
    return found.slots, found.gpus


def test_the_slots_are_those_of_the_last_fit_whose_workers_may_have_died(tmp_path):
    former = [WorkerStarted(slot, 100 + slot, "cuda:0") for slot in range(8)]
    last = [WorkerStarted(slot, 200 + slot, "cuda:0") for slot in (1, 0, 3, 2)]
    again = [WorkerDied(1, "killed"), WorkerStarted(1, 300, "cuda:0"), WorkerDied(0, "killed")]
    assert worked(tmp_path, *former, *last, *again) == (4, 2)


def test_workers_on_the_cpu_have_no_gpus(tmp_path):
    assert worked(tmp_path, WorkerStarted(0, 100, "cpu"), WorkerStarted(1, 101, "cpu")) == (2, 0)


def test_the_pace_is_what_turns_took_on_the_slots_in_use(tmp_path, capsys):
    now = iter(range(0, 1000, 10))
    journal = enrolled(tmp_path / "digits" / "journal.db")
    journal._clock = lambda: next(now)
    for run, slot in ((1, 0), (2, 1)):
        journal.record([TurnStarted(run, slot, 5)])
        journal.record([epoch(run, 2, 0.9), TurnEnded(run, slot, 2, 40)])
        journal.record([RunChanged(run, RunState.STOPPED)])
    journal.close()
    assert pace(tmp_path / "digits" / "journal.db") == Pace({1: 5.0, 2: 5.0}, 2)
    assert resume(Selection(("1",)), Options(str(tmp_path / "digits"), dry_run=True)) == 0
    assert "(finished in at most 0:25 instead of 0:25)" in capsys.readouterr().err
