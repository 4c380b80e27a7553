"""What machines are given reads back as what was meant."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.documents import run_document
from rapidfire_cli.view.formats import csv_columns, csv_lines, json_line, json_text, yaml_text
from tests.store.sweep import METADATA, row

AWKWARD = {"name": 'a "quoted", comma\nand line', "letters": "数字", "nothing": None, "many": [1, 2.5, "x"]}


@pytest.mark.parametrize("text", [json_text(AWKWARD), json_line(AWKWARD)])
def test_json_reads_back_the_same(text):
    assert json.loads(text) == AWKWARD


def test_a_record_is_one_line_of_jsonl():
    assert "\n" not in json_line(AWKWARD)


def test_json_knows_no_nan():
    seen = Overview(METADATA, RunState.COMPLETED, (), ExperimentDir(Path("digits")), METADATA.objective)
    nan = run_document(row(1, float("nan")), seen)
    assert nan["metrics"]["validation"]["top1_accuracy"] == "NaN"
    with pytest.raises(ValueError):
        json_line({"value": float("nan")})


@pytest.mark.parametrize(
    "text", ["1e-4", "0x1F", "no", "null", "~", "12:30:45", "+3", ".5", "", "-", "2024-01-01"]
)
def test_a_string_stays_a_string_in_yaml(text):
    assert yaml.safe_load(yaml_text({"value": text})) == {"value": text}
    assert yaml_text({"value": text}) != f"value: {text}"


def test_yaml_reads_back_the_same():
    assert yaml.safe_load(yaml_text(AWKWARD)) == AWKWARD


def test_csv_has_a_column_for_everything_that_some_record_has():
    records = [
        {"number": 1, "config": {"train": {"lr": 0.1}}},
        {"number": 2, "config": {"user_knobs": {"a.b": 1}}},
    ]
    columns = csv_columns(records)
    assert columns == ["number", "config.train.lr", "config.user_knobs.a.b"]
    assert list(csv_lines(records, columns)) == [",".join(columns), "1,0.1,", "2,,1"]


def test_csv_cells_read_back_as_they_were():
    columns = csv_columns([AWKWARD])
    (cells,) = csv.DictReader("\n".join(csv_lines([AWKWARD], columns)).splitlines(keepends=True))
    assert cells["name"] == AWKWARD["name"]
    assert cells["nothing"] == ""
    assert json.loads(cells["many"]) == AWKWARD["many"]
