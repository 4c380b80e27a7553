"""What goes wrong in a run fails that run, with its cause in one line and its traceback in the log."""

import json
import re
from dataclasses import replace

import pytest

from rapidfire_cli.facts import RunFailed
from tests.training.sandbox import TrainingSandbox, leaf

CAUSES = {
    "raise": "ValueError: not to my liking (tests/training/specs.py:LINE, in compute_forward)",
    "exit": "SystemExit: 3 (tests/training/specs.py:LINE, in compute_forward)",
    "forget": "compute_forward must return a mapping with a scalar `loss`; it returned a dict with `logits`",
    "number": "compute_forward must return a mapping with a scalar `loss`; it returned a float",
}


def anywhere(failure):
    """The failure without its traceback and the line of the spec."""
    return replace(failure, cause=re.sub(r"(\.py):\d+", r"\1:LINE", failure.cause), traceback="")


def failed(tmp_path, does, **knobs):
    place = TrainingSandbox(tmp_path, "Misbehaving")
    place.train(leaf(user_knobs={"does": does}, **knobs), until=1)
    return place


@pytest.mark.parametrize("does", CAUSES)
def test_the_cause_is_told_in_one_line(tmp_path, does):
    place = failed(tmp_path, does)

    assert anywhere(place.failure()) == RunFailed(1, "error", CAUSES[does], step=2)
    assert place.failure().cause in place.log()


def test_the_traceback_is_in_the_log_and_told(tmp_path):
    place = failed(tmp_path, "raise")

    for traced in (place.log(), place.failure().traceback):
        assert "Traceback (most recent call last)" in traced
        assert 'raise ValueError("not to my liking\\nat all")' in traced


def test_progress_is_marked_at_every_step(tmp_path):
    place = failed(tmp_path, "raise")

    assert place.steps == [1, 2]


def test_a_loss_that_is_no_number_fails_with_step_and_value(tmp_path):
    assert failed(tmp_path, "nan").failure() == RunFailed(1, "nan", "loss is nan at step 3", step=2)


def test_a_loss_that_is_no_number_is_kept_as_it_is_when_asked_to_continue(tmp_path):
    place = failed(tmp_path, "nan", on_nan="continue", named_metrics=())

    assert str(place.epochs()[1]["train", "loss"]) == "nan"


def test_the_others_go_on(tmp_path):
    place = failed(tmp_path, "exit")
    place.train(leaf(user_knobs={"does": "nothing"}), until=3, run=2)

    assert place.epochs(2).keys() == {1, 2, 3}


def test_a_failed_run_may_be_tried_again(tmp_path):
    place = failed(tmp_path, "raise")
    place.train(leaf(user_knobs={"does": "nothing"}), until=3)

    assert place.epochs().keys() == {1, 2, 3}


def test_what_is_printed_is_in_the_log(tmp_path, capfd):
    log = failed(tmp_path, "print").log()

    assert "a line from Python\n" in log
    assert "a line from below\n" in log
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        ("MisnamedData", "load_data's split `Val` would be ignored; rename it to `validation`"),
        (
            "NoData",
            "load_data must return a mapping of splits that includes `train`; it returned splits test",
        ),
        (
            "ListOfData",
            "load_data must return a mapping of splits that includes `train`; it returned a list of 1",
        ),
        (
            "StreamedData",
            "load_data's train split is a generator, not a map-style dataset (rows by index); its rows can "
            "only be iterated: return list(dataset), or datasets.Dataset.from_generator(…)",
        ),
        ("EmptyData", "load_data's train split is empty"),
        ("NoModel", "create_model must return a torch.nn.Module; it returned an empty dict"),
        ("Interrupted", "KeyboardInterrupt (tests/training/specs.py:LINE, in initialize_run)"),
    ],
)
def test_what_cannot_be_opened_fails_before_it_trains(tmp_path, spec, cause):
    place = TrainingSandbox(tmp_path, spec)
    place.train(leaf(), until=1)

    assert anywhere(place.failure()) == RunFailed(1, "error", cause, step=0)


@pytest.mark.parametrize("spec", ["Greedy", "GreedyTensor"])
def test_memory_that_runs_out_is_told_apart(tmp_path, spec):
    place = TrainingSandbox(tmp_path, spec)
    place.train(leaf(), until=1)

    assert place.failure().kind == "oom"


def test_a_pipe_that_breaks_is_no_fault_of_the_run(tmp_path):
    place = TrainingSandbox(tmp_path)
    place.break_at = 1

    with pytest.raises(BrokenPipeError):
        place.train(leaf(), until=1)


def test_failures_are_plain_enough_to_travel(tmp_path):
    failure = failed(tmp_path, "raise").failure()

    assert json.dumps(failure.cause)
    assert "\n" not in failure.cause
