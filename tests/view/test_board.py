"""The board is nothing but the facts, folded."""

import json

from rapidfire_cli.facts import (
    Metric,
    RunAdmitted,
    RunChanged,
    Saved,
    TurnEnded,
    TurnStarted,
    WorkerDied,
    WorkerStarted,
)
from rapidfire_cli.terms import Clone, Plain, Run, RunState, canonical
from rapidfire_cli.view.board import Board, board, fold
from rapidfire_cli.view.wording import NOTHING
from tests.store.sweep import METADATA, row
from tests.view.sweeps import epoch_ended, sweep, told


def test_a_board_begins_with_what_the_journal_knows():
    first, second = board(METADATA, [row(1, 0.9), row(2, state=RunState.QUEUED, epoch=2)]).lines.values()
    assert (first.state, first.epoch, first.at) == (RunState.COMPLETED, 5, 5)
    assert first.knobs == ("64", "0.001")
    assert (second.state, second.epoch, second.at) == (RunState.QUEUED, 2, 2)


def test_a_finished_epoch_moves_the_run_and_its_metrics():
    line = told(1, iter([TurnStarted(1, 0, 1), epoch_ended(1, 1)])).lines[1]
    assert (line.epoch, line.at, line.training) == (1, 1, True)
    assert set(line.metrics) == {"train", "validation"}


def test_a_run_between_two_turns_does_not_train():
    line = told(
        1, iter([RunChanged(1, RunState.RUNNING), TurnStarted(1, 0, 1), TurnEnded(1, 0, 1, 20)])
    ).lines[1]
    assert (line.state, line.training) == (RunState.RUNNING, False)


def test_runs_end_in_the_order_in_which_they_end():
    assert told(4, sweep(4, failing=3)).ended == [3, 1, 2, 4]


def test_a_dead_workers_runs_fall_back_to_what_is_durable_and_no_others_do():
    facts = [
        *(WorkerStarted(0, 1, "cpu"), WorkerStarted(1, 2, "cpu")),
        *(TurnStarted(1, 0, 1), epoch_ended(1, 1), Saved(1, 1, 20), TurnEnded(1, 0, 1, 20)),
        *(TurnStarted(1, 0, 2), epoch_ended(1, 2), TurnEnded(1, 0, 2, 40), TurnStarted(1, 0, 3)),
        *(TurnStarted(2, 1, 1), epoch_ended(2, 1), TurnEnded(2, 1, 1, 20)),
        WorkerDied(0, "killed by SIGKILL"),
    ]
    known = told(2, iter(facts))
    assert (known.lines[1].at, known.lines[1].training) == (1, False)
    assert known.lines[2].at == 1
    assert known.workers == {1}


def test_what_completed_is_not_lost_with_its_worker():
    known = told(2, iter([*sweep(2), WorkerDied(0, "exit code 3")]))
    assert {line.at for line in known.lines.values()} == {5}


def test_a_turn_that_ends_inside_an_epoch_shows_the_loss_so_far_until_the_epoch_is_over():
    facts = [TurnStarted(1, 0, 1), TurnEnded(1, 0, 1, 5, metrics=(Metric("train", "loss", 0.75),))]
    assert told(1, iter(facts)).lines[1].partial_metrics == {"loss": 0.75}
    assert told(1, iter([*facts, epoch_ended(1, 1)])).lines[1].partial_metrics == {}
    assert told(1, iter([*facts, WorkerDied(0, "exit code 3")])).lines[1].partial_metrics == {}


def test_a_knob_that_only_a_clone_changes_gets_a_column_for_all_runs():
    known = board(METADATA, [row(1, 0.9), row(2, 0.8)])
    leaf = {**known_leaf(known, 1), "user_knobs": {"width": 9}}
    fold(known, RunAdmitted(Run(3, "3" * 16, 1, canonical(leaf), 42, origin=Clone(1))))
    assert known.paths[-1] == "user_knobs.width"
    assert [line.knobs[-1] for line in known.lines.values()] == [NOTHING, NOTHING, "9"]
    before = known.paths
    fold(known, RunAdmitted(Run(4, "4" * 16, 1, canonical(leaf), 42, origin=Clone(3))))
    assert known.paths == before and known.lines[4].knobs == known.lines[3].knobs


def known_leaf(known: Board, run: int) -> dict[str, Plain]:
    leaf: dict[str, Plain] = json.loads(known.lines[run].leaf)
    return leaf
