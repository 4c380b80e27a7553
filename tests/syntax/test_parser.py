"""The experiment file as a whole."""

import pytest

from rapidfire_cli.syntax.ast import Config, ExperimentFile
from rapidfire_cli.syntax.parser import parse, slug
from rapidfire_cli.terms import Execution, Objective
from tests.syntax.reading import TRAIN, refused, understood, wrong

CONFIG = f"config: {{{TRAIN}}}\n"


def test_a_file_may_say_everything():
    file = understood(f"""
experiment: imagenet-mix
mlspec: specs.imagenet:ImageNetSpec
data: {{path: csv, files: [a, b], shuffle: null}}
seed: 7
objective: {{metric: top5_accuracy, direction: max}}
execution: {{checkpoint_every: 2.5, chunks: 4, data_cache: 512MiB, workers: 2, threads: 3}}
{CONFIG}""")
    assert file.name == "imagenet-mix"
    assert file.mlspec == "specs.imagenet:ImageNetSpec"
    assert file.data == {"path": "csv", "files": ["a", "b"], "shuffle": None}
    assert file.seed == 7
    assert file.objective == Objective("top5_accuracy", "max")
    assert file.execution == Execution(2.5, chunks=4, data_cache=512 * 2**20, workers=2, threads=3)


def test_an_objective_may_name_the_epoch_that_counts():
    file = understood(f"objective: {{metric: loss, direction: min, at: best}}\n{CONFIG}")
    assert file.objective == Objective("loss", "min", "best")


def test_a_file_need_only_say_its_config_group():
    file = understood(CONFIG, "sweeps/my digits.yaml")
    assert (file.name, file.mlspec, file.data, file.seed, file.objective) == (
        "my-digits",
        None,
        None,
        42,
        None,
    )
    assert file.execution == Execution()
    assert [type(group.generator) for group in file.groups] == [Config]


def test_two_notations_of_one_meaning_are_one_ast():
    grid = "gridsearch: {train: {epochs: 1, batch_size: %s, optimizer: {name: Adam}}}"
    tagged, table = understood(grid % "!list [1, 2]"), understood(grid % '{"!list": [1, 2]}')
    assert isinstance(tagged, ExperimentFile)
    assert tagged == table


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        *[("digits", "digits"), ("my digits!", "my-digits"), ("_x_", "x"), ("été", "t")],
        *[("日本", "experiment"), ("a" * 120, "a" * 100), ("a.b-c_d", "a.b-c_d")],
    ],
)
def test_a_name_is_made_from_any_stem(stem: str, name: str):
    assert slug(stem) == name


@pytest.mark.parametrize(
    ("size", "bytes_"),
    [
        ("1024", 1024),
        ("0", 0),
        ("2GB", 2 * 10**9),
        ("1 GiB", 2**30),
        ("64kB", 64_000),
        ("8KiB", 8192),
        ("5 B", 5),
    ],
)
def test_a_cache_has_a_size_in_bytes_or_in_words(size: str, bytes_: int):
    assert understood(f"execution: {{data_cache: {size}}}\n{CONFIG}").execution.data_cache == bytes_


@pytest.mark.parametrize("seed", ["0", "4294967295"])
def test_seeds_have_32_bits(seed: str):
    assert understood(f"seed: {seed}\n{CONFIG}").seed == int(seed)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("just text\n", ["E203 1:1"]),
        ("- config: 1\n", ["E203 1:1"]),
        ("seed: 4294967296\n" + CONFIG, ["E204 1:7"]),
        ("seed: -1\n" + CONFIG, ["E204 1:7"]),
        ("seed: true\n" + CONFIG, ["E203 1:7"]),
        ("seed:\n" + CONFIG, ["E203 1:6"]),
        ("experiment: -x\n" + CONFIG, ["E206 1:13"]),
        ("experiment: " + "x" * 101 + "\n" + CONFIG, ["E206 1:13"]),
        ("experiment: 7\n" + CONFIG, ["E203 1:13"]),
        ("mlspec: specs.digits\n" + CONFIG, ["E206 1:9"]),
        ("mlspec: 'specs.digits:'\n" + CONFIG, ["E206 1:9"]),
        ("mlspec: 1.digits:Spec\n" + CONFIG, ["E206 1:9"]),
        ("data: [a]\n" + CONFIG, ["E203 1:7"]),
        ("data: {path: !list [a, b]}\n" + CONFIG, ["E301 1:14"]),
        ("objective: {metric: loss}\n" + CONFIG, ["E202 1:1"]),
        ("objective: {metric: top0_accuracy, direction: up}\n" + CONFIG, ["E206 1:21", "E205 1:47"]),
        (
            "execution: {chunks: 0, workers: 0, threads: 1.0}\n" + CONFIG,
            ["E204 1:21", "E204 1:33", "E203 1:45"],
        ),
        ("execution: {checkpoint_every: -1}\n" + CONFIG, ["E204 1:31"]),
        ("execution: {data_cache: -1}\n" + CONFIG, ["E204 1:25"]),
        ("execution: {data_cache: 1 zebibyte}\n" + CONFIG, ["E206 1:25"]),
        ("execution: {data_cache: true}\n" + CONFIG, ["E203 1:25"]),
        ("execution: {hang_timout: 3}\n" + CONFIG, ["E201 1:13"]),
        ("extends: base.yaml\n" + CONFIG, ["E501 1:10"]),
        ("seed: !list [1, 2]\n" + CONFIG, ["E301 1:7"]),
        ("seed: !range [1, 2]\n" + CONFIG, ["E301 1:7"]),
        ("seed: 1\n", ["E207 1:1"]),
        (CONFIG + f"sha: {{{TRAIN}}}\n", ["E208 2:1"]),
        (CONFIG + "config_group: []\n", ["E208 2:1"]),
    ],
)
def test_what_is_wrong_is_located(text: str, found: list[str]):
    assert wrong(text) == found


def test_all_problems_are_reported_in_file_order():
    assert wrong("""
seeed: 1
mlspec: digits
config:
  train:
    epochs: 0
    optimizer: {name: 3}
    a: 1
    a: 2
  named_metrics: top1_accuracy
seed: 1e400
""") == [
        *["E201 2:1", "E206 3:9", "E202 5:3", "E204 6:13", "E203 7:23"],
        *["E201 8:5", "E105 9:5", "E203 10:18", "E110 11:7"],
    ]


def test_what_the_reader_refused_is_not_blamed_again():
    assert wrong("seed: 99999999999999999999\n" + CONFIG) == ["E109 1:7"]


def test_a_wrong_value_used_twice_is_reported_once():
    assert wrong("""
config_group:
  - config: &c {train: {epochs: 0, batch_size: 1, optimizer: {name: Adam}}}
  - config: *c
""") == ["E204 3:33"]


def test_a_key_that_belongs_elsewhere_is_told_where():
    hints = {
        problem.hint for problem in refused("config: {epochs: 1, num_runs: 2, train: {seed: 1, chunks: 2}}")
    }
    assert hints >= {
        "`epochs` belongs in `train`",
        "`num_runs` belongs in `randomsearch` or `sha`",
        "`seed` belongs at the top of the file",
        "`chunks` belongs in `execution`",
    }


def test_a_file_keeps_its_warnings():
    warnings = understood(
        "randomsearch: {num_runs: 2, train: {epochs: 1, batch_size: 1,"
        " optimizer: {name: SGD, args: {lr: !range [1.0, 0.1], momentum: !range [0, 1]}}}}"
    ).warnings
    assert [(warning.code, warning.severity) for warning in warnings] == [
        ("W301", "warning"),
        ("W302", "warning"),
    ]


def test_bytes_may_be_limited_by_the_caller():
    text = CONFIG.encode()
    assert parse(text, "f.yaml", len(text)).groups
