"""Where each value was written."""

from rapidfire_cli.problems import Span
from rapidfire_cli.syntax.ast import Path
from tests.syntax.reading import understood

TEXT = """\
seed: 7
data: {path: csv}
config_group:
  - gridsearch:
      train:
        epochs: 1
        batch_size: !list [8, 16]
        optimizer: {name: !list [Adam, SGD], args: {lr: 1e-3}}
        named_metrics: [top1_accuracy]
      user_knobs: {head: !list [{width: !list [1, 2]}, {depth: 3}]}
  - sha:
      num_runs: 2
      min_epochs: 1
      max_epochs: 4
      reduction_factor: 2
      metric: loss
      direction: min
      train: {batch_size: 1, optimizer: {name: Adam, args: {lr: !range [1e-4, 1e-2]}}}
"""
GRID: Path = ("config_group", 0, "gridsearch")
HALVING: Path = ("config_group", 1, "sha")


def at(*path: str | int) -> tuple[int, int]:
    span = understood(TEXT).origins[path]
    return span.line, span.column


def test_facts_of_the_file():
    assert understood(TEXT).origins[()] == Span("f.yaml", 1, 1, 4)
    assert at("seed") == (1, 7)
    assert at("data", "path") == (2, 14)


def test_groups():
    assert at("config_group") == (4, 3)
    assert at("config_group", 0) == (4, 5)
    assert at(*GRID) == (5, 7)


def test_knobs():
    assert at(*GRID, "train", "optimizer", "args", "lr") == (8, 57)


def test_a_knob_is_named_where_its_key_stands():
    keys = understood(TEXT).keys
    assert keys["seed",] == Span("f.yaml", 1, 1, 4)
    assert keys[(*GRID, "train", "optimizer", "args", "lr")] == Span("f.yaml", 8, 53, 2)
    assert (*GRID, "train", "batch_size", 1) not in keys


def test_a_value_set_at_its_knob_and_its_alternatives_below():
    assert at(*GRID, "train", "batch_size") == (7, 21)
    assert at(*GRID, "train", "batch_size", 1) == (7, 31)
    assert at(*GRID, "user_knobs", "head", 0, "width", 1) == (10, 51)
    assert at(*GRID, "user_knobs", "head", 1, "depth") == (10, 64)


def test_named_metrics_stand_where_the_tree_has_them():
    assert at(*GRID, "named_metrics", 0) == (9, 25)
    assert (*GRID, "train", "named_metrics") not in understood(TEXT).origins


def test_the_epochs_of_successive_halving_are_its_max_epochs():
    assert at(*HALVING, "train", "epochs") == at(*HALVING, "max_epochs") == (14, 19)
