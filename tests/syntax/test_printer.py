"""What is printed, read again: the same AST, the same digest, the same order of knobs, in every notation."""

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given

from rapidfire_cli.manifest.counting import total
from rapidfire_cli.manifest.identity import digest
from rapidfire_cli.syntax import printer
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.syntax.parser import parse
from rapidfire_cli.syntax.printer import to_json, to_toml, to_yaml
from rapidfire_cli.syntax.serialize import whole
from rapidfire_cli.terms import Plain
from tests.syntax.grammar import files

PRINTERS = {"f.yaml": to_yaml, "f.toml": to_toml, "f.json": to_json}
ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
DOCUMENTATION = ROOT / "docs" / "grammar.md"


@given(file=files)
def test_a_printed_file_means_the_same(file: ExperimentFile):
    for name, printed in PRINTERS.items():
        again = parse(printed(file).encode(), name)
        assert again == file
        assert digest(again) == digest(file)
        assert json.dumps(whole(again)) == json.dumps(whole(file))


@pytest.mark.parametrize("name", PRINTERS)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_shipped_files_mean_the_same_in_every_notation(config: Path, name: str):
    file = parse(config.read_bytes(), config.name)
    assert parse(PRINTERS[name](file).encode(), name) == file


def test_yaml_is_printed_as_people_write_it():
    text = """\
experiment: f
seed: 42
gridsearch:
  user_knobs: !list
    - {model: mlp, hidden: !list [64, 128]}
    - {model: cnn, dropout: 0.5, stem: {kernel: 3, stride: 1}, norm: null, n: "a: b"}
  train:
    epochs: 12
    batch_size: !list [32, 64]
    optimizer: {name: Adam, args: {lr: !list [0.001, 0.01]}}
"""
    assert to_yaml(parse(text.encode(), "f.yaml")) == text


@pytest.mark.parametrize(
    "value", [1e-05, -3e22, 1.5e-7, 2**60, "no", "On", "y", "1:30", "1e-5", "~", None, True]
)
def test_a_mapping_is_printed_so_that_readers_of_yaml_1_1_understand_it_too(value: Plain):
    text = printer.yaml({"knob": value, "held": {"list": [value]}})
    assert yaml.safe_load(text) == {"knob": value, "held": {"list": [value]}}


def test_toml_is_printed_with_dotted_keys():
    text = """\
experiment = "f"
data.path = "scans"
seed = 42

[[config_group]]
gridsearch.train.epochs = 1
gridsearch.train.batch_size = {"!list" = [8, 16]}
gridsearch.train.optimizer.name = "Adam"
gridsearch.train.lr_scheduler = {"!null" = true}

[[config_group]]
randomsearch.num_runs = 2
randomsearch.train.epochs = 1
randomsearch.train.batch_size = 8
randomsearch.train.optimizer.name = "Adam"
randomsearch.train.optimizer.args.lr = {"!range" = {start = 0.1, end = 0.2, dtype = "float"}}
"""
    assert to_toml(parse(text.encode(), "f.toml")) == text


def test_the_files_that_the_documentation_shows_are_valid():
    blocks = re.findall(r"```(yaml|toml)\n(.*?)```", DOCUMENTATION.read_text("utf-8"), re.DOTALL)
    whole_files = [(suffix, text) for suffix, text in blocks if "mlspec" in text]
    assert [total(parse(text.encode(), f"f.{suffix}")) for suffix, text in whole_files] == [11, 4]
