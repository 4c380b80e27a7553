"""`check` finds what can be known without training, and with `--smoke` what one batch of each kind shows."""

import pytest

from rapidfire_cli.app.files import Given
from rapidfire_cli.app.verbs import check
from rapidfire_cli.view.formats import Output
from tests.scenarios.conftest import GRID, HEADER
from tests.shares import share

TRAIN = "train: {epochs: 1, batch_size: 64, optimizer: {name: SGD, args: {lr: !list [0.1, 0.01]}}}\n"


def test_a_good_file_passes_and_nothing_is_left_behind(cli):
    cli.write(HEADER + GRID)
    assert (
        cli.run("check", "experiment.yaml").stdout == "experiment.yaml: 4 runs, 1 kind: no problems found\n"
    )
    assert [path.name for path in cli.path.iterdir()] == ["experiment.yaml"]


def test_the_static_part_needs_no_mlspec(cli):
    cli.write(GRID)
    cli.run("check", "--static", "experiment.yaml")
    assert "error[E510]" in cli.run("check", "experiment.yaml", exits=2).stderr


def test_every_combination_is_bound_to_torchs_signatures(cli):
    optimizers = (
        "!list [{name: Adam, args: {lr: 0.1, momentum: 0.9}}, {name: SGD, args: {lr: 0.1}}, {name: Adm}]"
    )
    cli.write(HEADER + f"gridsearch:\n  train: {{epochs: 1, batch_size: 8, optimizer: {optimizers}}}\n")
    error = cli.run("check", "experiment.yaml", exits=2).stderr
    assert "error[E402]: Adam has no argument `momentum`" in error
    assert "error[E401]: unknown optimizer `Adm`" in error


def test_a_value_that_torch_rejects_is_found_in_every_run_and_told_once(cli):
    optimizer = "{name: Adam, args: {lr: !list [0.1, -0.1], weight_decay: !list [0.0, 0.1, 0.2]}}"
    cli.write(HEADER + f"gridsearch:\n  train: {{epochs: 1, batch_size: 8, optimizer: {optimizer}}}\n")
    for verb in ("check", "fit"):
        error = cli.run(verb, "experiment.yaml", exits=2).stderr
        assert error.count("error[E406]: Adam rejects `lr`: Invalid learning rate: -0.1") == 1
        assert "experiment.yaml:4:84" in error


@pytest.mark.parametrize(
    "text",
    [
        f"objective: {{metric: top1_acuracy, direction: max}}\n{GRID}",
        "sha: {num_runs: 2, min_epochs: 1, max_epochs: 2, reduction_factor: 2, metric: top1_acuracy,\n"
        "  direction: max, train: {batch_size: 8, optimizer: {name: SGD, args: {lr: !range [0.1, 0.2]}}},\n"
        "  named_metrics: [top1_accuracy]}\n",
    ],
    ids=["objective", "sha"],
)
def test_metrics_that_decide_must_be_measured(cli, text):
    cli.write(HEADER + text)
    error = cli.run("check", "experiment.yaml", exits=2).stderr
    assert "error[E421]: no run measures `top1_acuracy`" in error
    assert "did you mean `top1_accuracy`?" in error


def test_smoke_trains_a_batch_of_each_kind_and_tells_what_fails_once(cli):
    cli.write(f"{HEADER}gridsearch:\n  user_knobs: {{does: !list [nothing, raise, kill]}}\n  {TRAIN}")
    cli.run("check", "experiment.yaml")
    error = cli.run("check", "--smoke", "experiment.yaml", exits=2).stderr
    assert error.count("error[E431]") == 2
    assert "run 3: a trial batch failed" in error and "found: ValueError: the data are" in error
    assert "specs.py:" in error and "in misbehave" in error
    assert "run 5: a trial batch failed" in error and "found: its worker killed by SIGKILL" in error
    assert "Traceback" not in error


def test_smoke_tells_of_knobs_that_are_read_but_never_set_and_of_those_that_are_never_read(cli):
    head = f"{HEADER.replace('Tiny', 'Knobbed')}gridsearch:\n"
    cli.write(f"{head}  user_knobs: {{widht: 8, depth: 1, model: !list [a, b]}}\n  {TRAIN}")
    error = cli.run("check", "--smoke", "experiment.yaml", exits=2).stderr
    assert "experiment.yaml:4:15: error[E430]: run 1: `user_knobs.width` is read but never set" in error
    assert "did you mean `widht`?" in error
    cli.write(f"{head}  user_knobs: {{width: 8, depht: 1, model: !list [a, b]}}\n  {TRAIN}")
    error = cli.run("check", "--smoke", "experiment.yaml").stderr
    assert "experiment.yaml:4:26: warning[W430]: `user_knobs.depht` is set but never read" in error
    assert "did you mean `depth`?" in error
    assert error.count("W430") == 1


def test_an_error_below_the_mlspecs_module_is_shown_where_it_is_and_traced_when_asked(cli):
    cli.write("import outer_module", "spec_of_mine.py")
    cli.write("import inner_module", "outer_module.py")
    cli.write("x = 1\ny = undefined + 1", "inner_module.py")
    cli.write(HEADER.replace("tests.scenarios.specs:Tiny", "spec_of_mine:Spec") + GRID)

    shown = cli.run("check", "experiment.yaml", exits=2).stderr
    assert shown.splitlines() == [
        "inner_module.py:2:5: error[E410]: `spec_of_mine:Spec` cannot be imported",
        "   2 | y = undefined + 1",
        "     |     ^^^^^^^^^",
        "found: NameError: name 'undefined' is not defined",
    ]
    traced = cli.run("--debug", "fit", "experiment.yaml", exits=2).stderr
    assert shown in traced and 'outer_module.py", line 1, in <module>' in traced


@pytest.mark.parametrize("knobs", ["", "user_knobs: {}\n  "])
def test_smoke_warns_of_no_knobs_that_the_file_does_not_set(cli, knobs):
    cli.write(f"{HEADER}gridsearch:\n  {knobs}{TRAIN}")
    assert cli.run("check", "--smoke", "experiment.yaml").stderr == ""


def test_smoke_tries_every_batch_size_that_leaves_a_single_row(cli):
    train = "train: {epochs: 1, batch_size: !list [64, 127, 512], optimizer: {name: SGD}}\n"
    cli.write(f"{HEADER.replace('Tiny', 'Normalised')}gridsearch:\n  {train}")
    error = cli.run("check", "--smoke", "experiment.yaml", exits=2).stderr
    assert error.count("error[E431]") == 1
    assert "experiment.yaml:4:45: error[E431]: run 2: a trial batch failed" in error
    assert "an epoch ends with a batch of one row" in error
    assert "warning[W431]: batch_size is 512, but the train split has only 128 rows" in error


WIDE = """\
from torch import nn, randn
from torch.nn.functional import mse_loss

from rapidfire_cli.mlspec import MLSpec


class Wide(MLSpec):
    def load_data(self, data, cfg):
        return {"train": [{"x": row} for row in randn(64, 4)]}

    def create_model(self, cfg):
        width = cfg["user_knobs"]["width"]
        return nn.Sequential(nn.Linear(4, width), nn.Linear(width, 4))

    def compute_forward(self, model, batch, cfg):
        return {"loss": mse_loss(model(batch["x"]), batch["x"])}
"""


@pytest.mark.parametrize("options", share([["--smoke"], []], 2))
def test_a_run_that_no_device_can_hold_is_found_without_making_it(cli, options):
    cli.write(WIDE, "wide.py")
    knobs = f"user_knobs: {{width: !list [8, {10**12}]}}"
    cli.write(f"mlspec: wide:Wide\ngridsearch:\n  {knobs}\n  {TRAIN}")
    error = cli.run("check", *options, "experiment.yaml", exits=2, anew=bool(options)).stderr

    assert error.count("error[E433]: run 3: the run needs more memory than the device has") == 1
    assert (
        "experiment.yaml:4:34" in error
        and "found: about " in error
        and " GiB to train a batch of 64" in error
    )


def test_check_stops_estimating_where_loading_takes_long(cli, monkeypatch, capsys):
    cli.write(WIDE.replace("return {", "import time; time.sleep(600); return {", 1), "wide.py")
    file = cli.write(f"mlspec: wide:Wide\ngridsearch:\n  user_knobs: {{width: {10**12}}}\n  {TRAIN}")
    monkeypatch.chdir(cli.path)
    monkeypatch.setattr(check, "PATIENCE", 0.5)
    assert check.check(Given(file), static=False, smoke=False, output=Output.TABLE) == 0
    assert capsys.readouterr().out.endswith("2 runs, 1 kind: no problems found\n")
