"""Experiment files of `configs/` as a person trains them: whole, and killed in the middle.

`make test` kills one short experiment, `make campaign` trains and kills all of them.
"""

import json
import operator
import re
from typing import get_args

import pytest

from rapidfire_cli.app.templates import Name
from rapidfire_cli.app.verbs.init import init
from tests.scenarios.conftest import ROOT, Cli

PAGE = (ROOT / "docs" / "templates.md").read_text("utf-8")
FLOORS = {
    file: (metric, {"≥": operator.ge, "≤": operator.le}[sign], float(bound))
    for file, metric, sign, bound in re.findall(
        r"^\| `(configs/\S+)` \| (\w+) ([≥≤]) (\S+) \|", PAGE, re.MULTILINE
    )
}
SHORT = (
    "configs/tabular_regression.yaml",
    "--set",
    "train.epochs=4",
    "--set",
    "train.optimizer.args.lr=1e-3",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A project with all templates, their base model fully trained."""
    directory = tmp_path_factory.mktemp("whole")
    for name in get_args(Name):
        init(directory, name)
    for name in ("digits_mixed.yaml", "digits_random.yaml", "digits_sha.yaml", "digits_wide.toml"):
        (directory / "configs" / name).write_bytes((ROOT / "configs" / name).read_bytes())
    return directory


@pytest.fixture
def tool(request, filled):
    """The tool in a project: the shared one, or the whole one in a campaign."""
    place = request.getfixturevalue("whole") if request.node.get_closest_marker("campaign") else filled
    return Cli(place, {"HF_HOME": str(place / "huggingface")})


def killed_and_continued(cli, directory, file, *changes):
    """Whether a fit that is killed in its first epochs ends with the weights and metrics of another."""
    ends = []
    for name in ("undisturbed", "killed"):
        command = ["fit", file, *changes, "--dir", str(directory / name), "--workers", "2", "--threads", "1"]
        if name == "killed":
            fit = cli.start(*command)
            assert any(re.match(r"run \d+  epoch ", line) for line in fit.stderr)
            fit.kill()
            fit.communicate()
            before = cli.run("status", "--dir", str(directory / name), "-o", "json").stdout
            assert any(run["state"] != "completed" for run in json.loads(before)["runs"])
        cli.run(*command)
        (experiment,) = (directory / name).iterdir()
        status = json.loads(cli.run("status", "--dir", str(directory / name), "-o", "json").stdout)
        weights = {
            path.parent.name: path.read_bytes() for path in experiment.glob("runs/*/final.safetensors")
        }
        ends.append((weights, [(run["id"], run["epoch"], run["metrics"]) for run in status["runs"]]))
    assert ends[0][0]
    return ends[0] == ends[1]


def test_the_page_states_what_every_experiment_file_reaches():
    configs = ROOT / "configs"
    assert {f"configs/{path.relative_to(configs)}" for path in configs.rglob("*") if path.is_file()} == set(
        FLOORS
    )


def test_a_short_experiment_that_is_killed_ends_with_the_same_bits(tool, tmp_path):
    assert killed_and_continued(tool, tmp_path, *SHORT)


@pytest.mark.campaign
@pytest.mark.parametrize("file", FLOORS)
def test_an_experiment_file_reaches_what_the_page_states(tool, tmp_path, file):
    metric, reaches, bound = FLOORS[file]
    tool.run("fit", file, "--dir", str(tmp_path))
    best = json.loads(tool.run("best", "--dir", str(tmp_path), "--top", "1", "-o", "json").stdout)["runs"][0]
    assert reaches(best["metrics"]["validation"][metric], bound)


@pytest.mark.campaign
@pytest.mark.parametrize("file", FLOORS)
def test_an_experiment_that_is_killed_ends_with_the_same_bits(tool, tmp_path, file):
    assert killed_and_continued(tool, tmp_path, file)


@pytest.mark.campaign
@pytest.mark.parametrize("file", FLOORS)
def test_an_experiment_file_passes_the_smoke_check(tool, file):
    assert "no problems found" in tool.run("check", "--smoke", file).stdout


@pytest.mark.campaign
def test_the_best_adapter_is_better_than_training_from_nothing_and_is_exported_as_the_page_says(
    tool, tmp_path
):
    losses = {}
    for name in ("causal_lm", "lora"):
        tool.run("fit", f"configs/{name}.yaml", "--dir", str(tmp_path))
        best = json.loads(tool.run("best", "--dir", str(tmp_path), "--top", "1", "-o", "json").stdout)
        losses[name] = best["runs"][0]["metrics"]["validation"]["loss"]
    assert losses["lora"] < losses["causal_lm"]
    tool.run("export", "best", "--dir", str(tmp_path), "-o", str(tmp_path / "adapter"))
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {
        path.name for path in (tmp_path / "adapter").iterdir()
    }
