"""Looking at runs: one with all about it, several side by side, whole curves, and what they printed."""

import csv
import json
import os
import pty
import time
from contextlib import suppress

import pytest

from tests.scenarios.conftest import GRID, HEADER, Cli, Process


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Cli:
    """Four trained runs, of which the file asks for two no more."""
    cli = Cli(tmp_path_factory.mktemp("trained"))
    cli.write(HEADER + GRID)
    cli.run("fit", "experiment.yaml")
    cli.run("fit", "experiment.yaml", "--set", "train.batch_size=16")
    return cli


def shown(cli: Cli, *arguments: str) -> dict:
    return json.loads(cli.run(*arguments, "-o", "json").stdout)


def started(cli: Cli) -> Process:
    """A fit whose first run trains."""
    fit = cli.start("fit", "experiment.yaml", "--workers", "1")
    deadline = time.monotonic() + 60
    while not list(cli.path.glob("rapidfire_experiments/tiny/runs/1-*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return fit


def test_a_run_is_shown_with_its_config_curves_and_times(trained):
    page = trained.run("show", "2").stdout
    assert page.startswith("run 2  completed  epoch 3/3\n")
    assert "*  train.optimizer.args.lr  0.001" in page
    assert "   train.epochs             3" in page
    (loss,) = [line for line in page.splitlines() if line.startswith("loss ")]
    assert len(loss.split()[-1]) == 3  # a bar per epoch
    document = shown(trained, "show", "2")
    assert 1 <= document["turns"]["count"] <= 3
    assert document["turns"]["trained"] > 0
    assert document["troubles"] == []


def test_the_best_run_is_shown_by_that_word(trained):
    best = shown(trained, "best")["runs"][0]["number"]
    assert trained.run("show", "best").stdout.startswith(f"run {best} ")


def test_a_run_that_failed_is_shown_with_what_went_wrong(tmp_path):
    cli = Cli(tmp_path)
    cli.write(HEADER + GRID.replace("0.01, 0.001", "1e30"))
    cli.run("fit", "experiment.yaml", exits=1)
    assert "  failed (nan) at step " in cli.run("show", "1").stdout


def test_runs_are_compared_by_what_differs(trained):
    table = trained.run("compare", "1-2").stdout
    assert [line.split() for line in table.splitlines() if "." in line.split()[0]] == [
        ["train.optimizer.args.lr", "0.01", "0.001"]
    ]
    assert shown(trained, "compare", "1", "3")["knobs"] == {"train.batch_size": {"1": 16, "3": 32}}
    whole = trained.run("compare", "1-2", "--all").stdout
    assert "train.epochs" in whole


def test_whole_curves_are_printed_for_programs(trained):
    rows = list(
        csv.DictReader(trained.run("history", "1-2", "--metric", "loss", "-o", "csv").stdout.splitlines())
    )
    assert [(row["run"], row["epoch"], row["split"]) for row in rows] == [
        (run, epoch, "validation") for run in ("1", "2") for epoch in ("1", "2", "3")
    ]
    last = shown(trained, "status")["runs"][0]["metrics"]
    values = [one for one in shown(trained, "history", "1")["history"] if one["epoch"] == 3]
    assert {(one["split"], one["metric"]): one["value"] for one in values} == {
        (split, name): value for split, named in last.items() for name, value in named.items()
    }


def test_everything_that_happened_can_be_played_again(trained):
    lines = trained.run("history", "--events", "-o", "jsonl").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    states = {event["run"]: event["state"] for event in events if event["event"] == "run_changed"}
    assert states == dict.fromkeys(range(1, 5), "completed")
    known = {run["number"]: run["metrics"] for run in shown(trained, "status", "--all")["runs"]}
    last = {event["run"]: event["metrics"] for event in events if event["event"] == "epoch_ended"}
    assert last == known
    assert {event["run"] for event in shown(trained, "history", "2", "--events")["events"]} == {2}
    table = trained.run("history", "2", "--events").stdout.splitlines()
    assert [line.split()[1:3] for line in table if "epoch_ended" in line] == [["epoch_ended", "2"]] * 3


def test_a_run_that_left_the_file_is_seen_when_all_are_asked_for(trained):
    assert [run["number"] for run in shown(trained, "status")["runs"]] == [1, 2]
    listed = {run["number"]: run["listed"] for run in shown(trained, "status", "--all")["runs"]}
    assert listed == {1: True, 2: True, 3: False, 4: False}
    assert trained.run("status", "--all").stdout.count("not in the file") == 2


def test_what_a_run_printed_is_printed(trained):
    (log,) = trained.path.glob("rapidfire_experiments/tiny/runs/1-*/log.txt")
    log.write_text("one\ntwo\nthree\n")
    assert trained.run("logs", "1").stdout == "one\ntwo\nthree\n"
    assert trained.run("logs", "1", "-n", "2").stdout == "two\nthree\n"
    assert trained.run("logs", "1", "--follow").stdout == "one\ntwo\nthree\n"  # over, so it ends


def test_a_log_is_followed_until_its_run_is_over(tmp_path):
    cli = Cli(tmp_path)
    cli.write(HEADER + GRID)
    fit = started(cli)
    watched = cli.run("logs", "1", "--follow").stdout
    fit.communicate()
    assert watched == next(cli.path.glob("rapidfire_experiments/tiny/runs/1-*/log.txt")).read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "9"), "run 9 does not exist"),
        (("show", "1-2"), "2 runs where one is expected"),
        (("compare", "1", "first"), "invalid selection of runs `first`"),
        (("history", "--metric", "accuracy"), "no run has a metric `accuracy`"),
    ],
)
def test_what_is_not_there_is_said(trained, arguments, said):
    assert said in trained.run(*arguments, exits=2).stderr


def test_the_table_is_renewed_on_a_terminal_until_training_is_over(tmp_path):
    cli = Cli(tmp_path)
    cli.write(HEADER + GRID.replace("pause: 0", "pause: 0.02"))
    fit = started(cli)
    ours, theirs = pty.openpty()
    watching = cli.start("status", "--watch", stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    with suppress(OSError):
        while data := os.read(ours, 1 << 16):
            seen += data
    os.close(ours)
    assert (watching.wait(), fit.wait()) == (0, 0)
    assert b"running" in seen
    assert seen.rindex(b"completed") > seen.rindex(b"running")


def test_in_a_pipe_the_table_is_printed_once_training_is_over(trained):
    assert trained.run("status", "--watch").stdout == trained.run("status").stdout
