"""A frame fits its terminal and shows what matters most of what does not fit."""

from dataclasses import replace
from itertools import islice

import pytest
from rich.cells import cell_len

from rapidfire_cli.facts import Metric, RunChanged, TurnEnded, TurnStarted, WorkerStarted
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.board import fold
from rapidfire_cli.view.columns import bar, columns, fitted
from rapidfire_cli.view.frame import frame, time_left
from tests.store.sweep import METADATA
from tests.view.sweeps import CAUSE, accuracy, blank, epoch_ended, sweep, told


def drawn(board, width=100, height=24):
    lines = frame(board, columns(board, width), elapsed=42.0, width=width, height=height)
    return ["".join(text for text, _ in line) for line in lines]


@pytest.mark.parametrize("width", range(40, 200, 7))
@pytest.mark.parametrize("facts", [0, 3, 60, 1000])
def test_no_line_is_wider_than_the_terminal(width, facts):
    for line in drawn(told(8, islice(sweep(8, failing=3), facts)), width):
        assert cell_len(line) <= width


@pytest.mark.parametrize("height", range(5, 60, 3))
@pytest.mark.parametrize("facts", [0, 3, 900, 7001])
def test_no_frame_is_higher_than_the_terminal(height, facts):
    assert len(drawn(told(500, islice(sweep(500, failing=3), facts)), height=height)) < height


def test_runs_that_fit_stand_in_their_order():
    rows = [line.split() for line in drawn(told(8, sweep(8)))[4:]]
    assert [cells[cells[0] == "★"] for cells in rows] == [str(number) for number in range(1, 9)]


def test_the_best_run_so_far_is_marked():
    best = max(range(1, 9), key=lambda run: accuracy(run, 5))
    (marked,) = [line for line in drawn(told(8, sweep(8))) if "★" in line]
    assert marked.split()[1] == str(best)


def test_no_run_is_best_before_the_first_epoch():
    assert not any("★" in line for line in drawn(told(8, islice(sweep(8), 4))))


def test_the_loss_of_an_epoch_under_way_is_shown_dim_before_any_metric_is_known():
    board = told(2, islice(sweep(2), 4))
    board.metadata = replace(METADATA, chunks=4)
    fold(board, TurnEnded(1, 1, 1, 5, metrics=(Metric("train", "loss", 0.75),)))
    lines = frame(board, columns(board, 100), elapsed=1.0, width=100, height=24)
    assert "train loss" in "".join(text for text, _ in lines[3])
    assert [text.strip() for text, style in lines[4] if style == "dim" and "0.7500" in text] == ["0.7500"]


def test_of_many_runs_those_training_the_best_and_those_that_just_ended_are_shown():
    board = told(500, islice(sweep(500, failing=3), 7001))
    fold(board, TurnStarted(321, 1, 5))
    lines = drawn(board)
    training, best, ended = (lines.index(f"  {title}") for title in ("training", "best so far", "just ended"))
    assert lines[training + 1].split()[0] == "321"
    assert lines[best + 1].startswith("★")
    assert lines[ended + 1].split()[0] == str(board.ended[-1])
    assert "398 running · 101 completed · 1 failed" in lines[-2]


def test_nothing_below_moves_when_a_worker_is_between_two_turns():
    board = told(500, islice(sweep(500), 3000))
    before = drawn(board).index("  best so far")
    fold(board, TurnStarted(321, 1, 5))
    assert drawn(board).index("  best so far") == before


def test_a_failed_run_says_why():
    lines = drawn(told(8, sweep(8, failing=3)))
    assert lines[-1] == f"  run 3 failed: {CAUSE}"


def test_time_left_is_unknown_before_the_first_epoch():
    assert time_left(told(8, islice(sweep(8), 4))) is None


def test_time_left_is_what_all_epochs_left_take_shared_by_the_workers():
    board = told(4, iter([WorkerStarted(0, 1, "cpu"), WorkerStarted(1, 2, "cpu"), epoch_ended(1, 1)]))
    assert time_left(board) == (4 * 5 - 1) * 2.0 / 2


def test_time_left_is_no_less_than_the_longest_run_takes():
    workers = [WorkerStarted(slot, slot, "cpu") for slot in range(4)]
    board = told(2, iter([*workers, epoch_ended(1, 1)]))
    assert time_left(board) == 5 * 2.0


def test_time_left_counts_what_turns_take_beside_their_epochs():
    """An epoch of next to nothing, but a turn each second: 100 runs take 100 seconds, not none."""
    board = blank(100)
    fold(board, WorkerStarted(0, 1, "cpu"))
    for run in range(1, 51):
        fold(board, TurnStarted(run, 0, 1), now=run - 1.0)
        fold(board, replace(epoch_ended(run, 1), seconds=0.0), now=float(run))
        fold(board, TurnEnded(run, 0, 1, 20), now=float(run))
    assert time_left(board) == 50 * 4 + 50 * 5


def test_runs_that_ended_early_take_no_more_time():
    board = told(
        2, iter([WorkerStarted(0, 1, "cpu"), epoch_ended(1, 1), RunChanged(2, RunState.FAILED, CAUSE)])
    )
    assert time_left(board) == 4 * 2.0


@pytest.mark.parametrize("width", range(9))
@pytest.mark.parametrize("text", ["", "lr", "top1_accuracy", "数字", "é数a字"])
def test_a_text_is_fitted_to_the_cell(text, width):
    for right in (False, True):
        assert cell_len(fitted(text, width, right)) == width


@pytest.mark.parametrize("done", [0.0, 0.24, 0.5, 0.99, 1.0, 1.5])
def test_a_bar_is_as_wide_as_it_should_be_and_full_only_at_the_end(done):
    (filled, _), (rest, _) = bar(done, 10, "cyan")
    assert len(filled + rest) == 10
    assert (filled == "━" * 10) == (done >= 1)
