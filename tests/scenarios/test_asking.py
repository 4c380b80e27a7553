"""What scripts ask of `fit`: saved manifests, shards, gates, a fresh start, a stop at the first failure."""

import json
from xml.etree import ElementTree

import pytest

from tests.scenarios.conftest import GRID, HEADER, Cli


def numbered(cli):
    return {run["number"]: run["id"] for run in cli.status()["runs"]}


def test_a_saved_manifest_is_trained_exactly(trained, cli):
    cli.write(HEADER + GRID)
    lines = cli.run("expand", "experiment.yaml", "-o", "jsonl", "--header").stdout.splitlines(keepends=True)
    (cli.path / "experiment.yaml").unlink()
    cli.write("".join([lines[0], lines[2], lines[4]]), "some.jsonl")
    cli.run("fit", "some.jsonl")
    every = numbered(trained)
    assert numbered(cli) == {2: every[2], 4: every[4]}
    assert cli.weights().items() <= trained.weights().items()


def test_the_manifest_that_fit_leaves_can_be_trained_again(trained, tmp_path):
    cli = Cli(tmp_path)
    manifest = (trained.path / "rapidfire_experiments/tiny/manifest.jsonl").read_text()
    cli.write(manifest, "manifest.jsonl")
    cli.run("fit", "manifest.jsonl")
    assert cli.weights() == trained.weights()
    cli.run("fit", "rapidfire_experiments/tiny/experiment.yaml")
    assert cli.weights() == trained.weights()


def test_a_manifest_that_says_something_else_is_refused(cli):
    cli.write(HEADER + GRID)
    head, *lines = cli.run("expand", "experiment.yaml", "-o", "jsonl", "--header").stdout.splitlines(
        keepends=True
    )
    cli.write("".join(lines), "headless.jsonl")
    assert "headless.jsonl:1:1: error[E334]" in cli.run("fit", "headless.jsonl", exits=2).stderr
    cli.write(head + lines[0] + lines[1].replace("0.001", "0.002"), "edited.jsonl")
    assert "edited.jsonl:3:1: error[E333]" in cli.run("fit", "edited.jsonl", exits=2).stderr
    cli.write(head + "{}\n", "broken.jsonl")
    assert "broken.jsonl:2:1: error[E332]" in cli.run("fit", "broken.jsonl", exits=2).stderr


def test_shards_share_the_runs_out_under_the_numbers_of_the_whole(trained, cli):
    cli.write(HEADER + GRID)
    cli.run("fit", "experiment.yaml", "--shard", "2/3")
    assert numbered(cli) == {2: numbered(trained)[2]}
    cli.run("fit", "experiment.yaml")
    assert numbered(cli) == numbered(trained)
    assert cli.weights() == trained.weights()


def test_shards_that_were_trained_apart_are_merged(trained, cli):
    cli.write(HEADER + GRID)
    for shard in ("1/2", "2/2"):
        cli.run("fit", "experiment.yaml", "--shard", shard, "--dir", f"apart/{shard[0]}")
    (cli.path / "rapidfire_experiments").mkdir()
    cli.run("merge", "apart/1/tiny", "apart/2/tiny", "-o", "rapidfire_experiments/tiny")
    assert cli.weights() == trained.weights() and cli.metrics() == trained.metrics()
    again = cli.run("fit", "experiment.yaml")
    assert again.stdout == trained.run("fit", "experiment.yaml").stdout and not again.stderr


def test_a_requirement_that_the_best_run_misses_exits_with_3(trained):
    trained.run("fit", "experiment.yaml", "--require", "top1_accuracy > 0.1", "--require", "train.loss<=10")
    trained.extra["GITHUB_STEP_SUMMARY"] = str(trained.path / "summary.md")
    missed = trained.run(
        *("fit", "experiment.yaml", "--require", "top1_accuracy>=1.1", "--junit", "report.xml"), exits=3
    )
    del trained.extra["GITHUB_STEP_SUMMARY"]
    assert "required top1_accuracy>=1.1: the best run, 1, has 0.8" in missed.stderr
    report = ElementTree.parse(trained.path / "report.xml").getroot()
    assert [int(report.get(total, "")) for total in ("tests", "failures")] == [len(numbered(trained)) + 1, 1]
    assert all(float(case.get("time", "")) > 0 for case in report[0])
    assert "- ❌ required top1\\_accuracy>=1.1: the best run" in (trained.path / "summary.md").read_text()


def test_a_document_holds_the_gates_and_where_each_run_is(trained):
    done = trained.run("fit", "experiment.yaml", "-o", "json", "--require", "top1_accuracy>=1.1", exits=3)
    told = json.loads(done.stdout)
    assert [(gate["requirement"], gate["met"]) for gate in told["requirements"]] == [
        ("top1_accuracy>=1.1", False)
    ]
    for run in told["runs"]:
        assert (run["seed"], run["replicate"]) == (42, 0)
        assert (trained.path / run["weights"]["final"]).parent == trained.path / run["directory"]


def test_runs_can_be_ranked_by_their_best_epochs(trained):
    told = json.loads(trained.run("best", "--metric", "loss", "--max", "--by", "best", "-o", "json").stdout)
    assert told["objective"] == {"metric": "loss", "direction": "max", "at": "best"}
    values = [run["best"]["value"] for run in told["runs"]]
    assert values == sorted(values, reverse=True) and all(run["best"]["epoch"] == 1 for run in told["runs"])
    assert " @ 1" in trained.run("best", "--metric", "loss", "--max").stdout


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--require", "loss<1", "--require", "top1_accuracy"), "--require:2:1: error[E513]"),
        (("--require", "top1_accuracy >= high"), "--require:1:18: error[E513]"),
        (("--require", "loss < 9", "--require", "top1_acuracy>0"), "--require:2:1: error[E605]"),
        (("--shard", "5/4"), "--shard:1:1: error[E514]"),
        (("--max-runs", "3"), "experiment.yaml:1:1: error[E511]"),
    ],
)
def test_what_cannot_be_read_or_is_too_much_is_refused_where_it_is_said(trained, option, said):
    assert trained.run("fit", "experiment.yaml", *option, exits=2).stderr.startswith(said)


def test_a_requirement_of_a_metric_that_no_run_measures_is_refused_before_training(cli):
    cli.write(HEADER + GRID)
    error = cli.run("fit", "experiment.yaml", "--require", "top1_acuracy>0.5", exits=2).stderr
    assert error.startswith("--require:1:1: error[E421]") and "did you mean `top1_accuracy`?" in error


def test_a_fresh_start_moves_aside_what_was_there(trained, cli):
    cli.write(HEADER + GRID.replace("epochs: 3", "epochs: 1"))
    for _ in range(2):
        cli.run("fit", "experiment.yaml", "--fresh")
    parent = cli.path / "rapidfire_experiments"
    assert sorted(path.name for path in parent.iterdir()) == ["tiny", "tiny~1"]
    assert json.loads(cli.run("status", "-e", "tiny~1", "-o", "json").stdout)["state"] == "completed"
    assert cli.status()["state"] == "completed"


def test_the_first_failure_stops_the_others_where_that_is_asked_for(cli):
    train = "  train: {epochs: 200, batch_size: 8, optimizer: {name: SGD, args: {lr: 0.1}}}\n"
    cli.write(f"{HEADER}gridsearch:\n  user_knobs: {{does: !list [raise, nothing]}}\n{train}")
    done = cli.run("fit", "experiment.yaml", "--fail-fast", "--workers", "1", exits=1)
    assert "interrupted; rerun the same command to continue" in done.stderr
    states = {run["config"]["user_knobs"]["does"]: run["state"] for run in cli.status()["runs"]}
    assert states["raise"] == "failed" and states["nothing"] in ("interrupted", "queued")


def test_a_metric_whose_name_holds_a_dot_is_read_alike_everywhere(cli):
    cli.write("""\
mlspec: tests.scenarios.specs:WithHead
objective: {metric: head.f1, direction: max}
gridsearch:
  early_stopping: {rule: median, metric: head.f1, direction: max}
  train:
    epochs: 2
    batch_size: !list [16, 32]
    optimizer: {name: Adam, args: {lr: 0.01}}
    lr_scheduler: {name: ReduceLROnPlateau, monitor: train.head.f1, args: {patience: 0}}
""")
    required = (
        "--require",
        "head.f1>0.1",
        "--require",
        "validation.head.f1>0.1",
        "--require",
        "train.head.f1<=1",
    )
    done = cli.run("fit", "experiment.yaml", *required)
    assert done.stderr.count("(met)") == 3
    assert "head.f1" in done.stdout
    ranked = json.loads(cli.run("best", "--metric", "head.f1", "-o", "json").stdout)["runs"]
    values = [run["metrics"]["validation"]["head.f1"] for run in ranked]
    assert len(values) == 2 and values == sorted(values, reverse=True)
    again = cli.run("fit", "experiment.yaml", *required)
    assert again.stderr.count("(met)") == 3
    unknown = cli.run("fit", "experiment.yaml", "--require", "head.f2>0", exits=2).stderr
    assert "error[E605]" in unknown and "did you mean `head.f1`?" in unknown
