"""A run that runs out of memory is replaced as `on_oom` says: real workers, real allocations that fail."""

import json
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from rapidfire_cli.durable.failpoints import KILL
from tests.scenarios.conftest import HEADER, Cli
from tests.scenarios.struck import strike
from tests.shares import share

FILE = (
    HEADER
    + """\
execution: {checkpoint_every: 0, on_oom: {train.batch_size: /2, train.grad_accumulation: "*2"}}
config_group:
  - config:
      user_knobs: {fits: 32, pause: 0.05}
      train: {epochs: 2, batch_size: 64, optimizer: {name: Adam, args: {lr: 0.01}}}
  - sha:
      num_runs: 4
      min_epochs: 1
      max_epochs: 4
      reduction_factor: 2
      metric: loss
      direction: min
      user_knobs: {fits: !range [20, 100]}
      train: {batch_size: 64, optimizer: {name: Adam, args: {lr: !range [0.0001, 0.1]}}}
"""
)
HOME = Path("rapidfire_experiments/tiny")
DECISIONS = "SELECT body FROM events WHERE kind = 'decision' ORDER BY seq"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Cli:
    """The experiment, trained without interruption."""
    cli = Cli(tmp_path_factory.mktemp("trained"))
    cli.write(FILE)
    cli.run("fit", "experiment.yaml", "--require", "loss<100")
    return cli


def ends(cli: Cli) -> dict[str, tuple[str, int, bool]]:
    """What became of each run: the numbers of replacements depend on who failed first."""
    return {run["id"]: (run["state"], run["epoch"], "origin" in run) for run in cli.status()["runs"]}


def test_the_changed_run_trains_in_its_place_and_both_are_shown(trained):
    runs = {run["number"]: run for run in trained.status()["runs"]}
    [instead] = [run for run in runs.values() if run.get("origin", {}).get("run") == 1]
    assert instead["origin"] == {"run": 1, "why": "oom"}
    assert instead["config"]["train"]["batch_size"] == 32
    assert instead["config"]["train"]["grad_accumulation"] == 2
    assert (runs[1]["state"], instead["state"]) == ("failed", "completed")
    assert runs[1]["error"].endswith(f"; replaced by run {instead['number']}")
    assert "replaces" in trained.run("status").stdout
    assert "it replaced run 1, which ran out of memory" in trained.run("why", f"{instead['number']}").stdout


def test_the_ranking_lists_the_one_that_trained(trained):
    ranked = {run["number"] for run in json.loads(trained.run("best", "--output", "json").stdout)["runs"]}
    replaced = {run["origin"]["run"] for run in trained.status()["runs"] if "origin" in run}
    assert replaced and ranked == {run["number"] for run in trained.status()["runs"]} - replaced


def test_the_manifest_lists_it_with_its_origin(trained):
    lines = [json.loads(line) for line in (trained.path / HOME / "manifest.jsonl").read_text().splitlines()]
    listed = {line["number"]: line.get("origin") for line in lines[1:]}
    assert listed == {run["number"]: run.get("origin") for run in trained.status()["runs"]}


def test_the_bracket_decides_over_replacements(trained):
    with sqlite3.connect(trained.path / HOME / "journal.db") as db:
        first, *_ = [json.loads(body) for (body,) in db.execute(DECISIONS)]
    replaced = {run["origin"]["run"] for run in trained.status()["runs"] if "origin" in run}
    assert len(first["verdicts"]) == 4 and not first["failed"]
    assert not replaced & {verdict["run"] for verdict in first["verdicts"]}


@pytest.mark.parametrize(
    ("point", "occurrence"),
    share([("write manifest.jsonl", 1), ("sync manifest.jsonl", 1), ("commit journal.db", 9)], 3),
)
def test_after_a_kill_the_replacement_goes_on_bit_for_bit(trained, tmp_path, point, occurrence):
    cli = Cli(tmp_path)
    cli.write(FILE)
    assert strike(cli, point, KILL, occurrence).returncode == -signal.SIGKILL
    cli.run("fit", "experiment.yaml")
    assert (cli.weights(), cli.metrics()) == (trained.weights(), trained.metrics())
    assert ends(cli) == ends(trained)


def test_a_rebuilt_journal_knows_whose_place_was_taken(trained, tmp_path):
    cli = Cli(tmp_path)
    shutil.copytree(trained.path, cli.path, dirs_exist_ok=True)
    for file in (cli.path / HOME).glob("journal.db*"):
        file.unlink()
    cli.run("repair", "-e", "tiny")
    origins = {run["number"]: run.get("origin") for run in cli.status()["runs"]}
    assert origins == {run["number"]: run.get("origin") for run in trained.status()["runs"]}
    cli.run("fit", "experiment.yaml")
    assert (cli.weights(), cli.metrics()) == (trained.weights(), trained.metrics())
    assert ends(cli) == ends(trained)


def test_when_the_changes_can_do_no_more_the_fit_has_failed(cli):
    cli.write(
        HEADER
        + """\
config:
  user_knobs: {fits: 1}
  train: {epochs: 1, batch_size: 6, optimizer: {name: SGD, args: {lr: 0.1}}}
execution: {on_oom: {train.batch_size: /4}}
"""
    )
    said = cli.run("fit", "experiment.yaml", "--fail-fast", exits=0).stderr
    assert "run 2  replaces run 1" in said
    cli.run("fit", "experiment.yaml", "--fresh", "--set", "execution.on_oom.train.batch_size=/8", exits=1)
    [run] = cli.status()["runs"]
    assert run["error"].endswith("; on_oom cannot change it further: train.batch_size is 6")
