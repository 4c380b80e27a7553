"""What is wrong in a file, a spec or an argument is said in located lines, with the right exit code."""

import json

import pytest
import yaml

from tests.scenarios.conftest import GRID, HEADER, place_of

CONFIG = """\
config:
  train: {epochs: 1, batch_size: 64, optimizer: {name: Adam, args: {lr: 0.1}}}
"""


def test_the_help_says_of_each_verb_what_it_does_in_a_line(cli):
    _, verbs = cli.run("--help").stdout.split("Commands:\n")
    assert all(line.endswith(".") and not line.endswith("...") for line in verbs.splitlines())


@pytest.mark.parametrize("verb", ["expand", "fit"])
def test_a_missing_file_is_one_line_and_names_its_neighbour(cli, verb):
    cli.write(HEADER + CONFIG, "digits.yaml")
    error = cli.run(verb, "digit.yaml", exits=2).stderr
    assert error.startswith("digit.yaml:1:1: error[E501]: file not found")
    assert "did you mean `digits.yaml`?" in error


def test_a_directory_an_empty_file_and_one_that_is_not_utf8(cli):
    (cli.path / "folder").mkdir()
    assert "error[E502]" in cli.run("fit", "folder", exits=2).stderr
    cli.write("", "empty.yaml")
    assert cli.run("fit", "empty.yaml", exits=2).stderr.startswith("empty.yaml:1:1: error[")
    (cli.path / "latin.yaml").write_bytes("experiment: caf\xe9\n".encode("latin-1"))
    error = cli.run("fit", "latin.yaml", exits=2).stderr
    assert error.startswith("latin.yaml:1:16: error[") and "UTF-8" in error


@pytest.mark.parametrize(
    ("mlspec", "says", "place"),
    [
        ("tests.scenarios.nowhere:Tiny", "No module named 'tests.scenarios.nowhere'", "experiment.yaml:1:9"),
        ("tests.scenarios.specs:Tini", "Tini", "experiment.yaml:1:9"),
        ("tests.scenarios.specs:WithoutModel", "create_model", f"{place_of('class WithoutModel')}:1"),
    ],
)
def test_an_mlspec_that_cannot_be_used_is_refused_at_its_line(cli, mlspec, says, place):
    cli.write(f"mlspec: {mlspec}\n" + CONFIG)
    error = cli.run("fit", "experiment.yaml", exits=2).stderr
    assert error.partition(": error[E41")[0] == place
    assert says in error and "Traceback" not in error


def test_adam_takes_no_momentum_and_nothing_is_left_behind(cli):
    cli.write(HEADER + CONFIG.replace("lr: 0.1", "lr: 1e-4, momentum: 0.9"))
    error = cli.run("fit", "experiment.yaml", exits=2).stderr
    assert "experiment.yaml:4:" in error.splitlines()[0] and "error[E402]" in error
    assert "momentum" in error and "betas" in error
    assert [path.name for path in cli.path.iterdir()] == ["experiment.yaml"]
    assert "error[E601]: no experiments found" in cli.run("status", exits=2).stderr


def test_an_objective_that_no_run_measures_is_refused_before_anything_is_trained(cli):
    cli.write(HEADER + "objective: {metric: top1_acuracy, direction: max}\n" + GRID)
    error = cli.run("fit", "experiment.yaml", exits=2).stderr
    assert "experiment.yaml:3:21: error[E421]: no run measures `top1_acuracy`" in error
    assert "did you mean `top1_accuracy`?" in error
    assert not (cli.path / "rapidfire_experiments/tiny/journal.db").exists()


def test_a_file_without_an_mlspec_can_be_expanded_but_not_trained(cli):
    cli.write(CONFIG)
    cli.run("expand", "experiment.yaml")
    assert "error[E510]" in cli.run("fit", "experiment.yaml", exits=2).stderr


def test_more_runs_than_anybody_means_are_refused(cli):
    thousand = ", ".join(map(str, range(1, 1001)))
    cli.write(HEADER + GRID.replace("[16, 32]", f"[{thousand}]").replace("[0.01, 0.001]", f"[{thousand}]"))
    assert cli.run("expand", "experiment.yaml", "--count").stdout == "1000000\n"
    assert "error[E511]" in cli.run("fit", "experiment.yaml", exits=2).stderr


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_what_fit_refuses_is_a_document_where_one_is_asked_for(cli, form):
    cli.write(HEADER + CONFIG.replace("epochs: 1", "epochs: 0"))
    refused = cli.run("fit", "experiment.yaml", "-o", form, exits=2)
    (problem,) = yaml.safe_load(refused.stdout)["problems"]
    assert (problem["code"], problem["line"]) == ("E204", 4) and refused.stderr == ""


def test_what_fit_refuses_is_an_event_among_events(cli):
    cli.write(HEADER + CONFIG)
    refused = cli.run("fit", "experiment.yaml", "-o", "jsonl", "--shard", "5/4", exits=2)
    event = json.loads(refused.stdout)
    assert (event["event"], event["code"], event["file"]) == ("problem", "E514", "--shard")


def test_usage_and_unknown_experiments_exit_with_2(cli):
    assert "--nonsense" in cli.run("fit", "--nonsense", exits=2).stderr
    assert "E601" in cli.run("status", exits=2).stderr
    assert "E601" in cli.run("best", "--experiment", "nobody", exits=2).stderr


def test_more_gpus_than_there_are_exit_with_5(cli):
    cli.write(HEADER + CONFIG)
    assert "GPUs" in cli.run("fit", "experiment.yaml", "--gpus", "99", exits=5).stderr
    assert [path.name for path in cli.path.iterdir()] == ["experiment.yaml"]


def test_a_problem_of_an_argument_is_shown_against_the_argument(cli):
    cli.write(HEADER + CONFIG)
    error = cli.run("fit", "experiment.yaml", "--set", "seed=1", "--set", "train.epohcs=2", exits=2).stderr
    assert error.splitlines()[:3] == [
        "--set:2:1: error[E530]: `train.epohcs` is not in the file",
        "   2 | train.epohcs=2",
        "     | ^^^^^^^^^^^^",
    ]
    error = cli.run("fit", "experiment.yaml", "--set", "train.optimizer.name=Adamm", exits=2).stderr
    assert error.splitlines()[1] == "   1 | train.optimizer.name=Adamm"


def test_a_missing_base_is_located_at_the_line_that_extends_it(cli):
    cli.write(HEADER + CONFIG, "base.yaml")
    cli.write("seed: 1\nextends: bas.yaml\n", "top.yaml")
    error = cli.run("expand", "top.yaml", exits=2).stderr
    assert error.startswith("top.yaml:2:10: error[E501]: file not found")
    assert "hint: did you mean `base.yaml`?" in error


def test_a_file_is_read_up_to_a_limit_that_can_be_raised(cli):
    cli.write(HEADER + CONFIG + "#" * 2**18)
    assert "error[E101]" in cli.run("expand", "experiment.yaml", exits=2).stderr
    cli.run("expand", "experiment.yaml", "--max-spec-bytes", "300000")
