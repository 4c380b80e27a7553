"""Seeing before running: what a file stands for, in every form, without training anything."""

import csv
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.scenarios.conftest import GRID, HEADER

SEARCH = """\
randomsearch:
  num_runs: 4
  user_knobs: {head: !list [{layers: !list [1, 2]}, {layers: !list [2, 3]}]}
  train: {epochs: 3, batch_size: 64, optimizer: {name: Adam}}
"""
HUGE = "gridsearch:\n  user_knobs: {%s}\n  train: {epochs: 1, batch_size: 1, optimizer: {name: Adam}}\n"


def test_every_form_tells_the_same_runs(cli):
    cli.write(HEADER + GRID)

    def told(form: str) -> str:
        return cli.run("expand", "experiment.yaml", "--output", form).stdout

    lines = [json.loads(line) for line in told("jsonl").splitlines()]
    assert len(lines) == 4
    assert json.loads(told("json"))["runs"] == lines
    assert yaml.safe_load(told("yaml"))["runs"] == lines
    rows = list(csv.DictReader(told("csv").splitlines()))
    assert [row["id"] for row in rows] == [line["id"] for line in lines]
    assert [row["config.train.batch_size"] for row in rows] == ["16", "16", "32", "32"]


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_limit_shortens_the_runs_and_not_the_count(cli, form):
    cli.write(HEADER + GRID)
    for limit in (0, 3):
        said = cli.run("expand", "experiment.yaml", "-o", form, "--limit", str(limit)).stdout
        document = yaml.safe_load(said)
        assert (len(document["runs"]), document["count"]) == (limit, 4)


def test_the_kind_of_a_group_at_top_level_is_said_once(cli):
    cli.write(HEADER + GRID)
    assert cli.run("expand", "experiment.yaml").stdout.splitlines()[1] == "  1  gridsearch  4 runs"


def test_more_runs_than_anybody_can_write_down_are_counted(cli):
    digits = ", ".join("0123456789")
    cli.write(HUGE % ", ".join(f"k{index}: !list [{digits}]" for index in range(5000)))
    assert cli.run("expand", "experiment.yaml", "--count").stdout == f"1{'0' * 5000}\n"
    assert len(cli.run("expand", "experiment.yaml", "--limit", "2", "-o", "jsonl").stdout.splitlines()) == 2


def test_a_count_of_runs_that_cannot_be_is_refused(cli):
    cli.write(SEARCH.replace("num_runs: 4", "num_runs: 40"))
    refused = cli.run("expand", "experiment.yaml", "--count", exits=2)
    assert "error[E330]" in refused.stderr and refused.stdout == ""


def test_problems_are_objects_where_json_is_asked_for(cli):
    cli.write("config:\n  train: {epochs: 0, batch_size: 64, optimizer: Adam}\n")
    refused = cli.run("expand", "experiment.yaml", "-o", "json", exits=2)
    assert refused.stderr == ""
    bounds, kind = json.loads(refused.stdout)["problems"]
    assert bounds == {
        "code": "E204",
        "severity": "error",
        "message": "`train.epochs` is out of range",
        "file": "experiment.yaml",
        "line": 2,
        "column": 19,
        "found": "0",
        "expected": "an integer of at least 1",
        "hint": None,
    }
    assert kind["hint"] == "write {name: Adam}"


def test_what_cuts_the_runs_short_ends_the_document_that_holds_them(cli):
    cli.write(SEARCH)
    refused = cli.run("expand", "experiment.yaml", "-o", "json", exits=2)
    document = json.loads(refused.stdout)
    assert (len(document["runs"]), [problem["code"] for problem in document["problems"]]) == (3, ["E331"])
    assert "error[E331]" in refused.stderr


def test_github_shows_problems_at_their_lines(cli, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    cli.write("config:\n  train: {epochs: 0, batch_size: 64, optimizer: {name: Adam}}\n", "100%,a:b.yaml")
    said = cli.run("expand", "100%,a:b.yaml", exits=2).stderr.splitlines()
    assert said[0] == (
        "::error file=100%25%2Ca%3Ab.yaml,line=2,col=19,title=E204::`train.epochs` is out of range"
        "%0Afound: 0%0Aexpected: an integer of at least 1"
    )
    assert said[1].startswith("100%,a:b.yaml:2:19: error[E204]")


def test_why_says_where_each_knob_of_a_run_comes_from(cli):
    cli.write(HEADER + GRID)
    said = cli.run("expand", "experiment.yaml", "--why", "3", "--set", "train.epochs=1").stdout
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in said.splitlines()}
    assert lines["train.epochs"] == "1 --set:1:14 constant, set by --set"
    assert lines["train.batch_size"] == "32 experiment.yaml:7:28 value 2 of 2"
    assert "error[E512]" in cli.run("expand", "experiment.yaml", "--why", "5", exits=2).stderr


def test_an_unknown_code_gets_a_suggestion(cli):
    assert "did you mean `E104`?" in cli.run("explain", "E1041", exits=2).stderr
    listed = cli.run("explain").stdout
    assert "E402  unknown optimizer argument" in listed
    assert cli.run("explain", "e402").stdout.startswith("E402: unknown optimizer argument\n")


def test_a_reader_that_has_enough_ends_the_tool_quietly(cli):
    cli.write(HUGE % ", ".join(f"k{index}: !list [0, 1]" for index in range(17)))
    expand = cli.start("expand", "experiment.yaml", "-o", "jsonl")
    assert expand.stdout and expand.stderr
    expand.stdout.readline()
    expand.stdout.close()
    assert expand.stderr.read() == ""
    assert expand.wait() == 141


def test_output_that_finds_no_room_is_one_line_and_the_environments_fault(cli):
    cli.write(HEADER + GRID)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            cli.command("expand", "experiment.yaml"),
            cwd=cli.path,
            env=cli.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (5, "error: No space left on device\n")


def test_the_schema_is_printed_as_json(cli):
    strict = json.loads(cli.run("schema").stdout)
    assert strict["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(cli.run("schema", "--tags").stdout) != strict


def test_diff_shows_what_an_edit_changes(cli):
    before = cli.write(HEADER + GRID, "before.yaml")
    cli.write(before.read_text().replace("[16, 32]", "[16, 32, 64]").replace("[0.01, 0.001]", "[0.01, 0.1]"))
    assert cli.run("diff", "before.yaml", "experiment.yaml").stdout.splitlines() == [
        "before.yaml → experiment.yaml: 2 added, 0 removed, 2 changed, 2 kept",
        "   run  group  knobs",
        "~    2      1  lr 0.001 → 0.1",
        "~    4      1  lr 0.001 → 0.1",
        "+    5      1  batch_size 64, lr 0.01",
        "+    6      1  batch_size 64, lr 0.1",
    ]
    cli.run("diff", "before.yaml", "experiment.yaml", "--exit-code", exits=1)
    assert cli.run("diff", "before.yaml", "before.yaml", "--exit-code").stdout == (
        "before.yaml → before.yaml: 0 added, 0 removed, 0 changed, 4 kept\n"
    )


def test_diff_is_data_too(cli):
    cli.write(HEADER + GRID)

    def told(form: str) -> str:
        return cli.run("diff", "experiment.yaml", "experiment.yaml", "--set", "seed=7", "-o", form).stdout

    document = json.loads(told("json"))
    assert document["counts"] == {"added": 0, "removed": 0, "changed": 4, "kept": 0}
    assert document["shared"] == [{"name": "seed", "before": 42, "after": 7}]
    assert [pair["knobs"] for pair in document["changed"]] == [[]] * 4
    assert yaml.safe_load(told("yaml")) == document
    lines = [json.loads(line) for line in told("jsonl").splitlines()]
    assert [line["after"]["number"] for line in lines] == [1, 2, 3, 4]
    assert len(told("csv").splitlines()) == 5


def test_diff_reads_revisions_with_what_they_extend(cli):
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=cli.path, check=True, capture_output=True)

    (cli.path / "configs").mkdir()
    cli.write(HEADER + GRID, "base.yaml")
    cli.write("extends: ../base.yaml\ngridsearch: {train: {epochs: 2}}\n", "configs/tiny.yaml")
    git("init")
    git("add", ".")
    git("commit", "-m", "begin")
    cli.write(HEADER + GRID.replace("[16, 32]", "[16]"), "base.yaml")
    said = cli.run("diff", "HEAD:configs/tiny.yaml", "configs/tiny.yaml").stdout.splitlines()
    assert said[0] == "HEAD:configs/tiny.yaml → configs/tiny.yaml: 0 added, 2 removed, 0 changed, 2 kept"
    assert "error[E504]" in cli.run("diff", "HEAD:nowhere.yaml", "base.yaml", exits=2).stderr


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        ("train.batch_size == 32", [3, 4]),
        ("train.optimizer.args.lr < 0.005 and train.batch_size in [16]", [2]),
        ("not user_knobs.pause", []),  # says nothing, as 0 is no truth value
    ],
)
def test_a_filter_shows_the_runs_of_which_it_is_true(cli, condition, numbers):
    cli.write(HEADER + GRID)

    def told(*arguments: str) -> str:
        return cli.run("expand", "experiment.yaml", "--filter", condition, *arguments).stdout

    assert [json.loads(line)["number"] for line in told("-o", "jsonl").splitlines()] == numbers
    document = json.loads(told("-o", "json", "--limit", "1"))
    assert [run["number"] for run in document["runs"]] == numbers[:1]
    assert (document["count"], document["filter"]) == (4, condition)
    assert told("--count") == f"{len(numbers)}\n"
    assert len(told().splitlines()) == 4 + len(numbers)


def test_a_filter_that_cannot_be_true_of_any_run_is_located_in_itself(cli):
    cli.write(HEADER + GRID)
    said = cli.run("expand", "experiment.yaml", "--filter", "train.batchsize == 32", exits=2).stderr
    assert said.startswith("--filter:1:1: error[E341]") and "did you mean `train.batch_size`?" in said
    assert "error[E340]" in cli.run("expand", "experiment.yaml", "--filter", "1 <", exits=2).stderr


def test_replicates_are_told_apart(cli):
    cli.write(HEADER + GRID.replace("gridsearch:\n", "gridsearch:\n  replicates: 2\n"))
    _, _, _, head, first, second, *_ = cli.run("expand", "experiment.yaml").stdout.splitlines()
    place = head.split().index("replicate")
    assert [first.split()[place], second.split()[place]] == ["0", "1"]


def test_a_filter_says_how_many_runs_it_leaves_and_is_marked_whole_over_several_lines(cli):
    cli.write(HEADER + GRID)
    left = cli.run("expand", "experiment.yaml", "--filter", "train.batch_size\n> 16").stderr
    assert left == "2 of 4 runs match --filter\n"
    said = cli.run("expand", "experiment.yaml", "--filter", "train.batch_size\n> oops", exits=2).stderr
    assert said.startswith("--filter:1:1: error[E341]") and "   1 | train.batch_size\n     | ^^^^" in said


def test_a_filter_of_more_runs_than_are_shown_says_that_there_are_more(cli):
    cli.write(HEADER + GRID)
    said = cli.run("expand", "experiment.yaml", "--filter", "train.batch_size > 1", "--limit", "2").stderr
    assert said == "… and more runs (--limit shows more, --output jsonl shows all)\n"
