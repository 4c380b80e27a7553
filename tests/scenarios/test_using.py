"""Trained runs are evaluated, used to predict, exported and loaded, while a fit trains and afterwards."""

import json
import os
import signal
import sys
import time

import pytest
import torch
from safetensors.torch import load_model

from rapidfire_cli import load_run
from rapidfire_cli.problems import Refusal
from tests.scenarios.conftest import Cli

MODULE = """\
import os, time
from pathlib import Path
from tests.scenarios.specs import Tiny

class Used(Tiny):
    def row_prep(self, row, cfg, mode):
        return {"x": row["x"]} if mode != "predict" else {"x": [row[f"x{place}"] for place in range(8)]}

    def collate(self, rows, cfg):
        import torch
        return {"x": torch.tensor([[*row["x"]] for row in rows])}

    def compute_forward(self, model, batch, cfg):
        print("the user's code prints")
        while cfg["user_knobs"]["waits"] and not Path("go").exists():
            time.sleep(0.05)
        logits = model(batch["x"])
        return {"loss": logits.square().mean(), "logits": logits}

    def predictions(self, outputs, batch, cfg):
        if Path("blocks").exists():
            Path("begun").touch()
            time.sleep(600)
        if Path("kills").exists():
            os._exit(9)
        return super().predictions(outputs, batch, cfg)
"""
FILE = """\
experiment: used
mlspec: used:Used
execution: {workers: 2}
gridsearch:
  user_knobs: {waits: !list [false, true]}
  train: {epochs: 2, batch_size: 16, optimizer: {name: Adam, args: {lr: 0.01}}}
"""
MOMENTS = 600  # of a tenth of a second, at most, for another process to come so far


@pytest.fixture(scope="module")
def cli(tmp_path_factory):
    """A fit of two runs: the first is completed, the second waits in its first batch."""
    cli = Cli(tmp_path_factory.mktemp("used"))
    cli.write(MODULE, "used.py")
    cli.write(FILE)
    rows = [{f"x{place}": float(place * row) for place in range(8)} for row in range(17)]
    cli.write("".join(f"{json.dumps(row)}\n" for row in rows), "rows.jsonl")
    fit = cli.start("fit", "experiment.yaml")
    wait(lambda: [*cli.path.glob("rapidfire_experiments/used/runs/1-*/final.safetensors")])
    wait(lambda: completed(cli))
    yield cli
    (cli.path / "go").touch()
    fit.communicate()
    assert fit.returncode == 0


def completed(cli):
    process = cli.start("status", "-o", "json")
    printed, _ = process.communicate()
    return process.returncode == 0 and json.loads(printed)["runs"][0]["state"] == "completed"


def wait(happens):
    for _ in range(MOMENTS):
        if happens():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def test_validation_comes_to_what_the_journal_has_and_data_alone_are_on_stdout(cli):
    done = cli.run("evaluate", "1", "-o", "json")
    run, _ = cli.status()["runs"]
    told = json.loads(done.stdout)
    assert (told["run"], told["split"], told["epoch"], told["rows"]) == (1, "validation", 2, 64)
    assert told["metrics"] == run["metrics"]["validation"]
    assert "the user's code prints" in done.stderr
    assert json.loads(cli.run("evaluate", "best", "--at", "best", "-o", "json").stdout)["run"] == 1
    head, values = cli.run("evaluate", "1", "--split", "train", "--metric", "loss").stdout.splitlines()
    assert head.split() == ["run", "epoch", "split", "rows", "loss"] and values.split()[:3] == [
        "1",
        "2/2",
        "train",
    ]


def test_a_run_that_has_not_finished_an_epoch_is_refused(cli):
    for words in (
        ["evaluate", "2"],
        ["predict", "2", "--data", "rows.jsonl", "-o", "no.csv"],
        ["export", "2", "-o", "no"],
    ):
        done = cli.run(*words, exits=2)
        assert "error[E620]" in done.stderr and "hint: wait for its next checkpoint" in done.stderr
    assert not list(cli.path.glob("no*"))


def test_predictions_are_written_whole_or_not_at_all(cli):
    output = cli.path / "out.csv"
    words = ["predict", "1", "--data", "rows.jsonl", "-o", "out.csv", "--batch-size", "3"]
    (cli.path / "kills").touch()
    assert "error[E624]" in cli.run(*words, exits=2).stderr
    (cli.path / "kills").rename(cli.path / "blocks")
    process = cli.start(*words)
    wait((cli.path / "begun").exists)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not output.exists()
    (cli.path / "blocks").unlink()
    assert "run 1, epoch 2: wrote 17 predictions to out.csv" in cli.run(*words).stderr
    assert len(output.read_text().splitlines()) == 18
    assert not list(cli.path.glob(".tmp-*"))


def test_an_export_is_the_model_that_python_loads(cli, monkeypatch):
    monkeypatch.chdir(cli.path)
    monkeypatch.syspath_prepend(str(cli.path))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    model, spec, cfg = load_run("used", 1)
    assert torch.equal(torch.rand(3), expected)
    assert not model.training and cfg["user_knobs"]["waits"] is False
    assert type(spec).__name__ == "Used"
    cli.run("export", "1", "-o", "exported")
    read, _, _ = load_run("experiment.yaml", "best", dir=cli.path / "rapidfire_experiments")
    with torch.no_grad():
        for parameter in read.parameters():
            parameter.zero_()
    load_model(read, cli.path / "exported" / "model.safetensors")
    rows = torch.randn(9, 8)
    assert torch.equal(read(rows), model(rows))
    assert "error[E625]" in cli.run("export", "1", "-o", "exported", exits=2).stderr
    with pytest.raises(Refusal, match="E620"):
        load_run(cli.path / "rapidfire_experiments" / "used", 2)
    with pytest.raises(Refusal, match="E512"):
        load_run("used", 3)
    sys.modules.pop("used")


def test_code_that_changed_since_is_told_in_a_line(cli):
    cli.write(f"{MODULE}\nCHANGED = True\n", "used.py")
    try:
        said = cli.run("evaluate", "1", "-o", "json").stderr
    finally:
        cli.write(MODULE, "used.py")
    assert "note: run 1 was trained with other code or data; changed: module used\n" in said
