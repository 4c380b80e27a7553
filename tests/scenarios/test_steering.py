"""A session of steering a live fit from a shell, and the file that reproduces its outcome."""

import json
import os
import signal
import time

from tests.scenarios.conftest import Cli

SWEEP = """\
experiment: tiny
mlspec: tests.scenarios.specs:Tiny
gridsearch:
  user_knobs: {pause: 0.03}
  train:
    epochs: !list [1, 6]
    batch_size: !list [16, 32]
    optimizer: {name: Adam, args: {lr: !list [0.01, 0.001]}}
  named_metrics: [top1_accuracy]
execution: {workers: 2}
"""
PATIENCE = 120  # seconds


def states(cli: Cli) -> dict[int, str]:
    return {run["number"]: run["state"] for run in cli.status()["runs"]}


def wait_until(cli: Cli, number: int, state: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while states(cli).get(number) != state:
        assert time.monotonic() < deadline, states(cli)
        time.sleep(0.1)


def asked(cli: Cli, *words: str) -> dict[int, str]:
    """Ask the live fit; the outcome and text of each run."""
    said = json.loads(cli.run(*words, "--output", "json").stdout)
    assert said["live"]
    return {answer["run"]: answer["text"] for answer in said["answers"]}


def test_a_session_of_steering_and_its_frozen_file(cli):
    cli.write(SWEEP)
    fit = cli.start("fit", "experiment.yaml")
    journal = cli.path / "rapidfire_experiments/tiny/journal.db"
    while not journal.exists():
        time.sleep(0.05)
    wait_until(cli, 1, "completed")

    assert set(asked(cli, "stop", "5-6").values()) <= {"stopping", "stopped"}
    lr = "train.optimizer.args.lr=0.05"
    assert asked(cli, "clone", "1", "--warm-start", "--set", lr, "--epochs", "2") == {1: "cloned as run 9"}
    wait_until(cli, 5, "stopped")
    wait_until(cli, 6, "stopped")
    assert asked(cli, "resume", "5") == {5: "resumed"}
    assert asked(cli, "delete", "6", "-y") == {6: "deleted"}
    assert asked(cli, "undo") == {6: "restored, stopped"}
    assert "run 1: refused: already completed" in cli.run("stop", "1", exits=2).stderr

    _, said = fit.communicate()
    assert fit.returncode == 0, said
    assert "1 run stopped by hand (`rapidfire resume 6`)" in said
    assert states(cli) == {**dict.fromkeys(range(1, 10), "completed"), 6: "stopped"}
    requests = json.loads(cli.run("log", "--all", "--output", "json").stdout)["requests"]
    assert [each["verb"] for each in requests] == ["stop", "clone", "resume", "delete", "undo", "stop"]

    steered = cli.weights()
    cli.run("freeze", "-o", "frozen.yaml")
    cli.run("fit", "frozen.yaml")
    assert cli.weights("frozen") == {run: steered[run] for run in cli.weights("frozen")}
    assert len(cli.weights("frozen")) == 8


STAYING = """\
experiment: tiny
mlspec: tests.scenarios.specs:Tiny
config_group:
  - config:
      user_knobs: {pause: 0}
      train: {epochs: 1, batch_size: 32, optimizer: {name: Adam, args: {lr: 0.01}}}
  - config:
      user_knobs: {pause: 5}
      train: {epochs: 1, batch_size: 32, optimizer: {name: Adam, args: {lr: 0.01}}}
execution: {workers: 2}
"""


def test_a_fit_that_stays_trains_what_is_asked_for_until_it_is_interrupted(cli):
    cli.write(STAYING)
    fit = cli.start("fit", "experiment.yaml", "--stay")
    while not (cli.path / "rapidfire_experiments/tiny/journal.db").exists():
        time.sleep(0.05)
    wait_until(cli, 1, "completed")
    wait_until(cli, 2, "running")
    assert "is durable yet" in cli.run("clone", "2", "--warm-start", exits=2).stderr
    assert asked(cli, "stop", "2", "--now") == {2: "stopping"}
    wait_until(cli, 2, "stopped")
    said = cli.run("clone", "1", "--set", "+train.optimizer.args.nope=1", exits=2).stderr
    assert "--set:1:23: error[E402]: Adam has no argument `nope`" in said, "as in a file"
    assert asked(cli, "clone", "1", "--set", "train.epochs=2") == {1: "cloned as run 3"}
    wait_until(cli, 3, "completed")
    os.kill(fit.pid, signal.SIGINT)
    _, said = fit.communicate()
    assert fit.returncode == 130, said
    assert "run 3  epoch 2/2" in said


FROZEN = """\
mlspec: tests.scenarios.specs:Tiny
config_group:
  - config: {{train: {{epochs: 3, batch_size: 16, optimizer: {{name: Adam, args: {{lr: 0.01}}}}}}}}
  - config:
      warm_start: {{run: {id}, epoch: 1}}
      train: {{epochs: 2, batch_size: 16, optimizer: {{name: Adam, args: {{lr: 0.1}}}}}}
execution: {{workers: {workers}}}
"""


def test_a_clone_waits_for_the_end_of_an_epoch_of_a_run_that_trains(cli):
    cli.write(
        SWEEP.replace("!list [1, 6]", "4")
        .replace("!list [16, 32]", "32")
        .replace("!list [0.01, 0.001]", "0.01")
    )
    fit = cli.start("fit", "experiment.yaml")
    while not (cli.path / "rapidfire_experiments/tiny/journal.db").exists():
        time.sleep(0.05)
    wait_until(cli, 1, "running")
    lr = "train.optimizer.args.lr=0.1"
    told = asked(cli, "clone", "1", "--warm-start", "--wait", "--epochs", "1", "--set", lr)
    assert told == {1: "waits for the end of an epoch of run 1"}
    assert fit.wait() == 0
    assert states(cli) == {1: "completed", 2: "completed"}
    [clone] = [run for run in cli.status()["runs"] if run["number"] == 2]
    assert clone["origin"] == {"run": 1, "why": "clone"}
    kept = [*(cli.path / "rapidfire_experiments/tiny/runs").glob("1-*/kept/step-*")]
    assert len(kept) == 1
    cli.run("freeze", "-o", "frozen.yaml")
    cli.run("fit", "frozen.yaml")
    assert cli.weights("frozen") == cli.weights()


def test_a_run_begins_with_an_epoch_of_one_that_trains_on_whatever_happens_to_the_fit(cli):
    text = FROZEN.partition("  - config:\n")[0].format()
    cli.write(text, "parent.yaml")
    parent = json.loads(cli.run("expand", "parent.yaml", "--output", "jsonl").stdout.splitlines()[0])["id"]
    cli.write(FROZEN.format(id=parent, workers=1), "one.yaml")
    cli.write(FROZEN.format(id=parent, workers=2), "two.yaml")
    cli.run("fit", "one.yaml")
    cli.run("fit", "two.yaml")
    assert cli.weights("one") == cli.weights("two")
    assert len(cli.weights("one")) == 2
    cli.run("delete", "1", "2", "-y", "-e", "two")
    cli.run("restore", "1", "-e", "two")
    assert {
        run["state"] for run in json.loads(cli.run("status", "-e", "two", "-o", "json").stdout)["runs"]
    } == {
        "completed",
        "deleted",
    }


HALVED = """\
experiment: tiny
mlspec: tests.scenarios.specs:Tiny
sha:
  num_runs: 2
  min_epochs: 1
  max_epochs: 3
  reduction_factor: 2
  metric: loss
  direction: min
  train: {batch_size: 16, optimizer: {name: Adam, args: {lr: !range {start: 1.0e-4, end: 1.0e-1, log: true}}}}
"""


def test_a_pruned_run_is_resumed_to_its_full_length_from_its_checkpoint(cli):
    cli.write(HALVED)
    cli.run("fit", "experiment.yaml")
    [pruned] = [run for run, state in states(cli).items() if state == "pruned"]
    resumed = cli.run("resume", str(pruned))
    assert resumed.stdout == f"run {pruned}: resumed\n" and "the next `rapidfire fit`" in resumed.stderr
    printed = cli.run("fit", "experiment.yaml", "--output", "jsonl").stdout
    turns = [each for each in map(json.loads, printed.splitlines()) if each["event"] == "turn_started"]
    assert turns[0]["until"] == 2, "its first epoch is not trained again"
    assert states(cli) == {1: "completed", 2: "completed"}
    trained = cli.weights()
    cli.run("freeze", "-o", "frozen.yaml")
    cli.run("fit", "frozen.yaml")
    assert cli.weights("frozen") == trained, "the bits of training from scratch"
