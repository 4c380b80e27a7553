"""`chunks: 4` cuts each epoch into four turns: every run shows something early, and no bit changes."""

import json
import sqlite3
from contextlib import closing

import pytest

from rapidfire_cli.experiment import results
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.queries import overview
from tests.scenarios.conftest import GRID, HEADER, Cli

CHUNKS = 4


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> dict[str, tuple[Cli, list[dict]]]:
    """The same file trained whole and in chunks, with what was told."""
    found = {}
    for name, execution in (("whole", ""), ("chunks", f"execution: {{chunks: {CHUNKS}}}\n")):
        cli = Cli(tmp_path_factory.mktemp(name))
        cli.write(HEADER + execution + GRID)
        told = cli.run("fit", "experiment.yaml", "--workers", "2", "--output", "jsonl").stdout
        found[name] = cli, [json.loads(line) for line in told.splitlines()]
    return found


def test_weights_and_metrics_are_those_of_uncut_training(fitted):
    (whole, _), (chunks, _) = fitted["whole"], fitted["chunks"]
    assert chunks.weights() == whole.weights()
    assert chunks.metrics() == whole.metrics()


def test_every_run_shows_its_metrics_before_any_has_finished_an_epoch(fitted):
    told = fitted["chunks"][1]
    first = next(index for index, fact in enumerate(told) if fact["event"] == "epoch_ended")
    early = [fact for fact in told[:first] if fact["event"] == "turn_ended"]
    shown = {fact["run"]: fact["metrics"]["train"] for fact in early if fact["at"] == 1}
    assert shown.keys() == {1, 2, 3, 4}
    assert all(each["loss"] > 0 and 0 < each["top1_accuracy"] < 1 for each in shown.values())


def test_the_journal_keeps_what_was_known_inside_epochs_by_run_epoch_and_step(fitted):
    cli, _ = fitted["chunks"]
    with closing(sqlite3.connect(cli.path / "rapidfire_experiments/tiny/journal.db")) as db:
        kept = db.execute("SELECT run, epoch, step FROM so_far WHERE name = 'top1_accuracy'").fetchall()
    steps = {1: 8, 2: 8, 3: 4, 4: 4}  # optimizer steps of an epoch, by run
    assert kept == [
        (run, epoch, steps[run] * (epoch - 1) + steps[run] * chunk // CHUNKS)
        for run in steps
        for epoch in (1, 2, 3)
        for chunk in (1, 2, 3)
    ]


def test_whole_curves_have_the_epochs_and_the_steps_inside_them(fitted):
    cli, _ = fitted["chunks"]
    said = json.loads(cli.run("history", "3", "--metric", "train.loss", "-o", "json").stdout)["history"]
    assert [(point["epoch"], point["step"], point["ended"]) for point in said] == [
        (epoch, 4 * (epoch - 1) + chunk, chunk == CHUNKS) for epoch in (1, 2, 3) for chunk in (1, 2, 3, 4)
    ]
    found = results(overview(cli.path / "rapidfire_experiments/tiny/journal.db", alive=False))
    assert [point for point in found.history("train.loss") if point["run"] == 3] == said
    assert {point["metric"] for point in found.history()} == {"loss", "top1_accuracy"}
    with pytest.raises(Refusal, match=r"did you mean `train\.loss`"):
        found.history("train.los")


@pytest.mark.parametrize("name", ["whole", "chunks"])
def test_a_finished_experiment_can_be_played_again_event_by_event(fitted, name):
    cli, told = fitted[name]
    lines = cli.run("history", "--events", "-o", "jsonl").stdout.splitlines()
    again = [json.loads(line) for line in lines]
    assert [event.pop("seq") for event in again] == [*range(1, len(again) + 1)]
    times = [event.pop("time") for event in again]
    assert times == sorted(times)
    assert again == [event for event in told if event["event"] not in ("turn_started", "turn_ended")]


def test_metrics_so_far_are_told_inside_epochs_alone(fitted):
    for told, chunks in ((fitted["whole"][1], 1), (fitted["chunks"][1], CHUNKS)):
        over = [fact for fact in told if fact["event"] == "turn_ended"]
        assert all((fact["metrics"] == {}) == (fact["at"] % chunks == 0) for fact in over)


def test_a_run_that_is_done_has_no_epoch_under_way(fitted):
    assert [run["partial_metrics"] for run in fitted["chunks"][0].status()["runs"]] == [{}] * 4


def test_logs_have_a_line_for_each_chunk(cli):
    cli.write(HEADER + "execution: {chunks: 2}\n" + GRID)
    lines = cli.run("fit", "experiment.yaml").stderr.splitlines()
    assert len([line for line in lines if line.startswith("run 1  epoch 0.5/3  train so far loss ")]) == 1
    assert len([line for line in lines if "train so far" in line]) == 4 * 3
