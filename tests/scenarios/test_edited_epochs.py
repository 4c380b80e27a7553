"""After `epochs` was edited, runs go on from where they were, unless their schedule changes."""

import json

from tests.scenarios.conftest import HEADER

FILE = f"""\
{HEADER}
gridsearch:
  user_knobs: {{pause: 0}}
  train:
    epochs: EPOCHS
    batch_size: 16
    optimizer: {{name: Adam, args: {{lr: 0.01}}}}
    lr_scheduler: !list
      - {{name: StepLR, args: {{step_size: 3}}}}
      - {{name: OneCycleLR, args: {{max_lr: 0.1}}}}
"""
"""Two runs, of which the second one's learning rates depend on its length."""


def test_runs_with_edited_epochs_continue_where_they_were(cli):
    cli.write(FILE.replace("EPOCHS", "2"))
    cli.run("fit", "experiment.yaml")
    cli.write(FILE.replace("EPOCHS", "4"))
    cli.run("fit", "experiment.yaml")
    assert "its first 2 epochs are those of run 1" in cli.run("why", "3").stdout
    assert "are those of" not in cli.run("why", "4").stdout
    assert json.loads(cli.run("why", "3", "-o", "json").stdout)["began"] == {"run": 1, "epoch": 2}
    continued, metrics = cli.weights(), cli.metrics()
    curves = cli.run("history", "3-4", "-o", "csv").stdout
    cli.run("fit", "experiment.yaml", "--fresh")
    scratch = cli.weights()
    assert len(scratch) == 2 and scratch == {run: continued[run] for run in scratch}
    assert cli.metrics() == metrics
    assert len(cli.run("history", "-o", "csv").stdout.splitlines()) == len(curves.splitlines())
