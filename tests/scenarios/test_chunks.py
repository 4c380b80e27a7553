"""`chunks: 4` cuts each epoch into four turns: every run shows something early, and no bit changes."""

import json

import pytest

from tests.scenarios.conftest import GRID, HEADER, Desk

CHUNKS = 4


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> dict[str, tuple[Desk, list[dict]]]:
    """The same file trained whole and in chunks, with what was told."""
    found = {}
    for name, execution in (("whole", ""), ("chunks", f"execution: {{chunks: {CHUNKS}}}\n")):
        desk = Desk(tmp_path_factory.mktemp(name))
        desk.write(HEADER + execution + GRID)
        told = desk.run("fit", "experiment.yaml", "--workers", "2", "--output", "jsonl").stdout
        found[name] = desk, [json.loads(line) for line in told.splitlines()]
    return found


def test_weights_and_metrics_are_those_of_uncut_training(fitted):
    (whole, _), (chunks, _) = fitted["whole"], fitted["chunks"]
    assert chunks.weights() == whole.weights()
    assert chunks.metrics() == whole.metrics()


def test_every_run_shows_a_loss_before_any_has_finished_an_epoch(fitted):
    told = fitted["chunks"][1]
    first = next(index for index, fact in enumerate(told) if fact["event"] == "epoch_ended")
    early = [fact for fact in told[:first] if fact["event"] == "turn_over"]
    assert {fact["run"] for fact in early if fact["at"] == 1 and fact["loss"] > 0} == {1, 2, 3, 4}


def test_losses_so_far_are_told_inside_epochs_alone(fitted):
    for told, chunks in ((fitted["whole"][1], 1), (fitted["chunks"][1], CHUNKS)):
        over = [fact for fact in told if fact["event"] == "turn_over"]
        assert all((fact["loss"] is None) == (fact["at"] % chunks == 0) for fact in over)


def test_a_run_that_is_done_has_no_epoch_under_way(fitted):
    assert [run["loss_so_far"] for run in fitted["chunks"][0].status()["runs"]] == [None] * 4


def test_logs_have_a_line_for_each_chunk(desk):
    desk.write(HEADER + "execution: {chunks: 2}\n" + GRID)
    lines = desk.run("fit", "experiment.yaml").stderr.splitlines()
    assert len([line for line in lines if line.startswith("run 1  epoch 0.5/3  train loss so far ")]) == 1
    assert len([line for line in lines if "loss so far" in line]) == 4 * 3
