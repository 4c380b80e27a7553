"""Arguments as shells, scripts and slips make them: one located error, exit code 2, and nothing else."""

import re

import pytest

from tests.scenarios.conftest import GRID, HEADER

PLACED = re.compile(r"^\S.*:[0-9]+:[0-9]+: error\[E[0-9]{3}\]: ")


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["--set", ""], "--set:1:1: error[E531]"),
        (["--set", "train.epochs=["], "--set:1:15: error[E104]"),
        (["--set", "seed=1", "--set", "train.epoch=2"], "--set:2:1: error[E530]"),
        (["--set", "9:train.epochs=2"], "--set:1:3: error[E532]"),
        (["--set", "train.epochs=*a"], "--set:1:14: error[E111]"),
        (["--set", "train.epochs=!!python/name:os.system x"], "--set:1:14: error[E107]"),
        (["--set", "train.epochs=1\nmore: 2"], "--set:2:5: error[E104]"),
        (["--set", "train.epochs=\udcff"], "--set:1:14: error[E102]"),
        (["--unset", "train.nothing"], "--unset:1:1: error[E530]"),
        (["--unset", "train.epochs"], "experiment.yaml:5:3: error[E202]"),
        (["--filter", ""], "--filter:1:1: error[E340]"),
        (["--filter", "\udcff"], "--filter:1:1: error[E340]"),
        (["--filter", "train.epochs == " + "9" * 30], "--filter:1:17: error[E340]"),
        (["--filter", "(" * 90 + "true"], "--filter:1:52: error[E340]"),
        (["--why", "9" * 30], "--why:1:1: error[E512]"),
    ],
)
def test_an_argument_that_means_nothing_is_shown_where_it_is_wrong(cli, words, where):
    cli.write(HEADER + GRID)
    done = cli.run("expand", "experiment.yaml", *words, exits=2)
    assert done.stdout == ""
    assert done.stderr.startswith(where)
    assert all(PLACED.match(block) for block in done.stderr.split("\n\n"))


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("a" * 300, "E503"),
        ("/dev/null", "E116"),
        ("/dev/zero", "E101"),
        ("\udcff.yaml", "E501"),
        ("HEAD:experiment.yaml", "E501"),
    ],
)
def test_a_file_that_is_none_is_one_located_error(cli, name, where):
    said = cli.run("expand", name, exits=2).stderr
    assert PLACED.match(said) and f"error[{where}]" in said


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "1:1: error[E334]"),
        ("{}\n", "1:1: error[E334]"),
        ('{"experiment":' + "[" * 100_000, "1:78: error[E114]"),
        ('{"experiment": "a", "config": {}}\n', "1:21: error[E202]"),
        ('{"experiment": "a", "extends": "b.yaml"}\n', "error[E"),
    ],
)
def test_a_manifest_that_is_none_is_located(cli, text, where):
    cli.write(text, "m.jsonl")
    said = cli.run("fit", "m.jsonl", exits=2).stderr
    assert said.startswith("m.jsonl:") and where in said
