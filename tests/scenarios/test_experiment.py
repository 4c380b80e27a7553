"""The same engine from Python: a script, its results, and what it refuses."""

import json
import os
import subprocess
import sys

import pytest

import rapidfire_cli
from rapidfire_cli import Experiment, GridSearch, List
from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.metadata import Metadata
from rapidfire_cli.store.source import Source
from rapidfire_cli.terms import Objective
from tests.goldens import agree
from tests.scenarios.conftest import GRID, HEADER, ROOT, Cli
from tests.scenarios.specs import Tiny
from tests.store.sweep import enrolled

OURS = """\
from tests.scenarios.specs import Tiny

class Own(Tiny):
    \"\"\"Importable from where the script stands, which is not where it runs.\"\"\"
"""
SCRIPT = """\
import json, sys
from ours import Own
from rapidfire_cli import Experiment, GridSearch, List

grid = GridSearch({
    "user_knobs": {"pause": 0},
    "train": {
        "epochs": 3,
        "batch_size": List([16, 32]),
        "optimizer": {"name": "Adam", "args": {"lr": List([0.01, 0.001])}},
    },
    "named_metrics": ["top1_accuracy"],
})
results = Experiment(Own, name="tiny").run_fit(grid)
json.dump({"state": results.state, "best": results.best.number, "records": results.records()}, sys.stdout)
"""


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    """A script in a directory of its own, run from another one."""
    cli = Cli(tmp_path_factory.mktemp("scripted"))
    place = tmp_path_factory.mktemp("place")
    (place / "ours.py").write_text(OURS)
    (place / "train.py").write_text(SCRIPT)
    command = [sys.executable, str(place / "train.py")]
    done = subprocess.run(
        command, cwd=cli.path, env=cli.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return cli, done


def test_a_script_trains_shows_progress_and_has_its_results(scripted):
    _, done = scripted
    told = json.loads(done.stdout)
    assert told["state"] == "completed"
    accuracies = [record["validation.top1_accuracy"] for record in told["records"]]
    assert accuracies == sorted(accuracies, reverse=True) and len(accuracies) == 4
    first = told["records"][0]
    assert first["run"] == told["best"] and first["epoch"] == 3 and first["error"] is None
    assert {"train.batch_size", "train.optimizer.args.lr", "user_knobs.pause", "train.loss"} <= first.keys()
    assert done.stderr.count("  epoch 3/3  ") == 4


def test_a_file_that_says_the_same_trains_the_same_runs(scripted):
    cli, _ = scripted
    cli.write(HEADER.replace("tests.scenarios.specs:Tiny", "ours:Own") + GRID)
    lines = cli.run("expand", "experiment.yaml", "-o", "jsonl").stdout.splitlines()
    assert {json.loads(line)["id"] for line in lines} == {run["id"] for run in cli.status()["runs"]}
    assert len(cli.weights()) == 4
    kept = (cli.path / "rapidfire_experiments/tiny/experiment.yaml").read_text()
    assert (
        cli.run("expand", "rapidfire_experiments/tiny/experiment.yaml", "-o", "jsonl").stdout.splitlines()
        == lines
    )
    assert "mlspec: ours:Own" in kept


def test_a_class_that_workers_cannot_import_is_refused_with_the_way_out(tmp_path):
    class Local(MLSpec):
        """Lives in a function."""

    with pytest.raises(Refusal, match="workers cannot import Local") as refusal:
        Experiment(Local)
    assert "inside test_a_class_that_workers_cannot_import" in refusal.value.problems[0].found


def test_so_is_one_of_a_script():
    case = ROOT / "rapidfire_cli/catalogue/E521"
    command = [sys.executable, str(case / "script.py")]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    traceback, name, said = done.stderr.partition("rapidfire_cli.problems.Refusal: ")
    assert traceback and name
    agree(case / "stderr.txt", said)


def test_adam_takes_no_momentum_in_python_either(tmp_path, forks_workers):
    reference = {
        "train": {
            "epochs": 10,
            "batch_size": 64,
            "optimizer": {"name": "Adam", "args": {"lr": 1e-4, "momentum": 0.9, "weight_decay": 1e-5}},
            "lr_scheduler": {"name": "StepLR", "args": {"step_size": 1000}},
        },
        "named_metrics": ["top1_accuracy", "top5_accuracy"],
    }
    with pytest.raises(Refusal) as refusal:
        Experiment(Tiny, dir=tmp_path).run_fit(reference)
    said = str(refusal.value)
    assert said.startswith(
        "<python> config.train.optimizer.args.momentum: error[E402]: Adam has no argument `momentum`"
    )
    golden = (ROOT / "rapidfire_cli/catalogue/E402/stderr.txt").read_text()
    assert said.splitlines()[1:] == golden.splitlines()[3:]
    assert not (tmp_path / "Tiny/journal.db").exists()


def test_everything_wrong_is_told_before_a_worker_starts(tmp_path):
    experiment = Experiment("tests.scenarios.specs:Tiny", dir=tmp_path)
    with pytest.raises(Refusal) as refusal:
        experiment.run_fit(GridSearch({"train": {"epochs": List([]), "batch_size": 0}}), seed=-1)
    assert sorted(problem.code for problem in refusal.value.problems) == ["E202", "E204", "E204", "E302"]
    assert not list(tmp_path.iterdir())


def test_a_class_of_the_same_name_in_another_module_has_no_part_in_its_experiment(tmp_path):
    metadata = Metadata("Tiny", Objective("loss", "min"), source=Source("other:Tiny", given=False))
    enrolled(tmp_path / "Tiny/journal.db", metadata=metadata).close()
    config = {"train": {"epochs": 1, "batch_size": 8, "optimizer": {"name": "SGD", "args": {"lr": 0.1}}}}
    with pytest.raises(Refusal) as refused:
        Experiment("tests.scenarios.specs:Tiny", dir=tmp_path).run_fit(config)
    (problem,) = refused.value.problems
    assert (problem.code, problem.expected) == ("E609", "other:Tiny") and "`name=`" in problem.hint


def test_the_package_says_what_it_offers():
    for name in ("MLSpec", "Experiment", "List", "GridSearch", "SuccessiveHalving"):
        assert name in dir(rapidfire_cli) and getattr(rapidfire_cli, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Liszt'"):
        _ = rapidfire_cli.Liszt


def test_a_fit_in_the_background_is_steered_by_its_handle(tmp_path, forks_workers):
    config = {
        "user_knobs": {"pause": 0.01},
        "train": {
            "epochs": 2,
            "batch_size": 32,
            "optimizer": {"name": "Adam", "args": {"lr": List([0.01, 0.001])}},
        },
    }
    execution = {"workers": 1}
    fit = Experiment(Tiny, name="tiny", dir=tmp_path).run_fit(
        GridSearch(config), execution=execution, background=True
    )
    [stopped] = fit.stop(2)  # while the worker starts: the answer comes when training begins
    [cloned] = fit.clone(1, {"train.optimizer.args.lr": 0.5})
    assert (stopped.text, cloned.born) == ("stopped", 3)
    assert {run.number for run in fit.results.runs} == {1, 2, 3}
    with pytest.raises(TimeoutError):
        fit.wait(0)
    for wrong in (
        fit.stop,
        lambda: fit.delete("best"),
        lambda: fit.clone(1, warm_start="some"),
        lambda: fit.clone(1, source="first"),
    ):
        with pytest.raises(ValueError, match=r"name at least|not the number|must be"):
            wrong()
    done = fit.wait(120)
    assert fit.is_done and {run.number: str(run.state) for run in done.runs} == {
        1: "completed",
        2: "stopped",
        3: "completed",
    }
    assert [answer.text for answer in fit.resume(2)] == ["resumed"], "also after the fit"


def test_what_a_fit_in_the_background_raises_is_raised_by_wait(tmp_path):
    config = {"train": {"epochs": 1, "batch_size": 8, "optimizer": {"name": "Adamm", "args": {"lr": 0.1}}}}
    fit = Experiment(Tiny, name="tiny", dir=tmp_path).run_fit(GridSearch(config), background=True)
    with pytest.raises(Refusal):
        fit.wait(120)
