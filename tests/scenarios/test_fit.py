"""`fit` trains what a file describes, and the same command again does only what is left."""

import json
import os
import pty
import re
import signal
import subprocess
import time
from itertools import islice

import pytest

from tests.scenarios.conftest import GRID, HEADER, Cli
from tests.shares import share

SINGLE = """\
config:
  user_knobs: {{does: {does}}}
  train: {{epochs: 1, batch_size: 64, optimizer: {{name: SGD, args: {{lr: 0.1}}}}}}
"""


def test_every_run_is_trained_ranked_and_kept(trained):
    status = trained.status()
    assert status["experiment"] == "tiny" and status["state"] == "completed"
    assert [run["state"] for run in status["runs"]] == ["completed"] * 4
    for run in status["runs"]:
        assert run["epoch"] == run["epochs"] == 3
        assert run["step"] == 3 * 128 // run["config"]["train"]["batch_size"]
        assert set(run["metrics"]) == {"train", "validation"}
        assert set(run["metrics"]["validation"]) == {"loss", "top1_accuracy"}
        assert run["error"] is None
    assert len(trained.weights()) == 4


def test_best_ranks_by_the_objective_or_by_any_metric(trained):
    by_accuracy = json.loads(trained.run("best", "--output", "json").stdout)["runs"]
    values = [run["metrics"]["validation"]["top1_accuracy"] for run in by_accuracy]
    assert values == sorted(values, reverse=True)
    by_loss = json.loads(trained.run("best", "--metric", "loss", "--top", "2", "--output", "json").stdout)[
        "runs"
    ]
    values = [run["metrics"]["validation"]["loss"] for run in by_loss]
    assert len(values) == 2 and values == sorted(values)
    worst = json.loads(trained.run("best", "--metric", "train.loss", "--max", "--output", "json").stdout)[
        "runs"
    ]
    values = [run["metrics"]["train"]["loss"] for run in worst]
    assert values == sorted(values, reverse=True)


def test_an_experiment_goes_by_its_file_its_name_and_its_directory(trained):
    words = ["experiment.yaml", "tiny", "rapidfire_experiments/tiny"]
    seen = {trained.run("status", "--experiment", word, "--output", "json").stdout for word in words}
    assert seen == {trained.run("status", "--output", "json").stdout}


def test_the_same_command_again_trains_nothing_and_shows_the_ranking(trained):
    before = {path: path.stat().st_mtime_ns for path in trained.path.rglob("final.safetensors")}
    again = trained.run("fit", "experiment.yaml")
    assert "epoch" not in again.stderr
    assert again.stdout.splitlines()[0].split()[:3] == ["rank", "run", "top1_accuracy"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_has_its_log_its_weights_and_its_config(trained):
    for run in trained.status()["runs"]:
        directory = trained.path / "rapidfire_experiments/tiny/runs" / f"{run['number']}-{run['id']}"
        (checkpoint,) = directory.glob("step-*")
        names = {"log.txt", "final.safetensors", "best.safetensors", checkpoint.name}
        assert {entry.name for entry in directory.iterdir()} == names
        assert json.loads((checkpoint / "MANIFEST.json").read_text())["facts"]["config"] == run["config"]


def test_a_changed_file_trains_only_what_is_new_and_known_runs_keep_their_numbers(trained, tmp_path):
    cli = Cli(tmp_path)
    subprocess.run(["cp", "-r", f"{trained.path}/.", tmp_path], check=True)
    before = {run["id"]: run["number"] for run in cli.status()["runs"]}
    cli.write(HEADER + GRID.replace("[16, 32]", "[64, 32]"))
    done = cli.run("fit", "experiment.yaml")
    after = {run["id"]: run["number"] for run in cli.status()["runs"]}
    kept = before.keys() & after.keys()
    assert len(kept) == 2 and all(before[id_] == after[id_] for id_ in kept)
    assert sorted(after[id_] for id_ in after.keys() - kept) == [5, 6]
    assert set(re.findall(r"^run (\d+)  epoch", done.stderr, re.MULTILINE)) == {"5", "6"}


def test_without_a_terminal_each_finished_epoch_is_a_line(tmp_path):
    cli = Cli(tmp_path)
    cli.write(HEADER + GRID)
    done = cli.run("fit", "experiment.yaml", "--workers", "1")
    lines = [line for line in done.stderr.splitlines() if re.match(r"run \d  epoch \d/3  train loss", line)]
    assert len(lines) == 4 * 3
    assert "\x1b" not in done.stderr + done.stdout


def test_the_kept_file_says_what_was_trained_in_one_piece(cli):
    cli.write(HEADER + GRID, "base.yaml")
    cli.write(
        'extends = "base.yaml"\nexperiment = "whole"\ngridsearch.user_knobs.pause = 0.001\n', "top.toml"
    )
    said = ("--set", "train.epochs=1", "--set", "train.batch_size=!list [32]", "--unset", "named_metrics")
    cli.run("fit", "top.toml", *said)
    kept = "rapidfire_experiments/whole/experiment.yaml"
    described = cli.run("expand", kept, "--output", "jsonl", "--header").stdout
    assert described == cli.run("expand", "top.toml", *said, "--output", "jsonl", "--header").stdout
    assert described == (cli.path / kept).with_name("manifest.jsonl").read_text()
    assert described.count('"pause":0.001') == 2


def test_events_stream_as_json_lines(cli):
    cli.write(HEADER + GRID)
    events = [
        json.loads(line) for line in cli.run("fit", "experiment.yaml", "-o", "jsonl").stdout.splitlines()
    ]
    ended = [event for event in events if event["event"] == "epoch_ended"]
    assert len(ended) == 12
    assert {"run", "epoch", "step", "metrics"} <= ended[0].keys()


def test_a_terminal_shows_a_live_table(cli):
    cli.write(HEADER + GRID.replace("pause: 0", "pause: 0.03"))  # long enough for several frames
    master, slave = pty.openpty()
    cli.extra.update(TERM="xterm-256color", CI="")
    process = cli.start("fit", "experiment.yaml", stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            shown += os.read(master, 1 << 16)
        except OSError:  # the terminal's other end is closed
            break
    assert process.wait() == 0
    text = shown.decode()
    assert "starting" in text.split("━")[0]
    assert "━" in text and "tiny" in text and "★" in text


@pytest.mark.parametrize(
    ("does", "cause"),
    [
        ("raise", "ValueError: the data are"),
        ("exit", "SystemExit"),
        ("forget the loss", "loss"),
        ("nan", "step 1"),
    ],
)
def test_a_run_that_misbehaves_fails_alone_with_one_line(tmp_path_factory, does, cause, failing):
    error = failing[does]["error"]
    assert failing[does]["state"] == "failed"
    assert cause in error and "\n" not in error


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """One sweep with every kind of misbehaviour beside a good run."""
    cli = Cli(tmp_path_factory.mktemp("failing"))
    names = ["raise", "exit", "forget the loss", "nan", "kill", "nothing"]
    cli.write(
        HEADER
        + f"gridsearch:\n  user_knobs: {{does: !list [{', '.join(names)}]}}\n"
        + "  train: {epochs: 1, batch_size: 64, optimizer: {name: SGD, args: {lr: 0.1}}}\n"
    )
    done = cli.run("fit", "experiment.yaml", exits=1)
    assert "Traceback" not in done.stderr
    runs = {run["config"]["user_knobs"]["does"]: run for run in cli.status()["runs"]}
    logs = {
        does: (cli.path / f"rapidfire_experiments/tiny/runs/{run['number']}-{run['id']}/log.txt")
        for does, run in runs.items()
    }
    return {does: {**run, "log": logs[does].read_text()} for does, run in runs.items()}


def test_the_others_go_on(failing):
    assert failing["nothing"]["state"] == "completed"


def test_the_traceback_stands_in_the_runs_log(failing):
    assert "Traceback" in failing["raise"]["log"] and "misbehave" in failing["raise"]["log"]


def test_a_run_that_kills_its_worker_fails_after_three_retries(failing):
    assert failing["kill"]["state"] == "failed"
    assert failing["kill"]["error"] == "worker killed by SIGKILL"


def test_a_worker_that_dies_once_is_replaced_and_nothing_is_lost(cli):
    cli.write(HEADER + SINGLE.format(does="kill once"))
    done = cli.run("fit", "experiment.yaml")
    assert "worker 0  died: killed by SIGKILL" in done.stderr
    assert cli.status()["state"] == "completed"


def test_a_second_fit_is_turned_away(cli):
    cli.write(HEADER + GRID.replace("pause: 0", "pause: 0.05"))
    first = cli.start("fit", "experiment.yaml")
    lock = cli.path / "rapidfire_experiments/tiny/lock"
    while not (lock.exists() and lock.read_text()):
        time.sleep(0.02)
    second = cli.run("fit", "experiment.yaml", exits=4)
    assert f"process {first.pid}" in second.stderr
    first.kill()
    first.communicate()


@pytest.mark.parametrize("stop", share([signal.SIGINT, signal.SIGTERM], 2))
def test_a_stop_loses_nothing_and_the_same_command_continues(trained, tmp_path, stop):
    cli = Cli(tmp_path)
    cli.write(HEADER + GRID.replace("pause: 0", "pause: 0.03"))  # 3 seconds on two workers
    process = cli.start("fit", "experiment.yaml", "-o", "jsonl")
    assert process.stdout
    for line in process.stdout:
        if '"epoch_ended"' in line:
            break
    process.send_signal(stop)
    process.communicate()
    assert process.returncode == 128 + stop
    cli.run("fit", "experiment.yaml")
    assert sorted(cli.weights().values()) == sorted(trained.weights().values())
    assert [*cli.metrics().values()] == [*trained.metrics().values()]


def test_killed_anywhere_and_continued_every_bit_is_the_same(trained, tmp_path):
    cli = Cli(tmp_path)
    cli.write(HEADER + GRID + "execution: {checkpoint_every: 0}\n")
    for epochs in (1, 4):
        process = cli.start("fit", "experiment.yaml", "-o", "jsonl")
        assert process.stdout
        ended = (line for line in process.stdout if '"epoch_ended"' in line)
        assert len(list(islice(ended, epochs))) == epochs
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    cli.run("fit", "experiment.yaml")
    assert cli.weights() == trained.weights()
    assert cli.metrics() == trained.metrics()


def test_a_runs_bits_depend_neither_on_company_nor_on_order_nor_on_workers(trained, tmp_path_factory):
    everything = trained.weights()
    alone = Cli(tmp_path_factory.mktemp("alone"))
    alone.write(HEADER + GRID.replace("[16, 32]", "[32]").replace("[0.01, 0.001]", "[0.001]"))
    alone.run("fit", "experiment.yaml")
    crowd = Cli(tmp_path_factory.mktemp("crowd"))
    crowd.write(
        HEADER + GRID.replace("[16, 32]", "[64, 32, 8, 16]").replace("[0.01, 0.001]", "[0.001, 0.01]")
    )
    crowd.run("fit", "experiment.yaml", "--workers", "1")
    assert len(crowd.weights()) == 8
    shared = {id_: crowd.weights()[id_] for id_ in everything}
    assert shared == everything
    assert alone.weights().items() <= everything.items()
