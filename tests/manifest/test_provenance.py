"""Why a run is what it is."""

import pytest

from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.knob_paths import cell
from rapidfire_cli.manifest.provenance import provenance
from rapidfire_cli.syntax.overrides import SET, arguments
from rapidfire_cli.syntax.parser import parse
from rapidfire_cli.view.provenance import how

FILE = """\
randomsearch:
  num_runs: 12
  user_knobs: !list
    - {model: mlp, width: !list [64, 128]}
    - {model: cnn, dropout: !range [0.0, 0.5]}
  train:
    epochs: 3
    batch_size: !list [32, 64]
    optimizer: {name: SGD, args: {lr: !range [1e-3, 1e-1]}}
"""


def told(run: int, *sets: str) -> dict[str, tuple[int, str]]:
    """Of each knob of the run, the line it was written in and how it came from there."""
    file = parse(FILE.encode(), "f.yaml", arguments=list(arguments(SET, sets)))
    of_run = provenance(file, list(expand(file))[run - 1])
    return {found.knob: (found.span.line if found.span else 0, how(found)) for found in of_run}


def runs(model: str) -> list[int]:
    file = parse(FILE.encode(), "f.yaml")
    return [run.number for run in expand(file) if run.leaf["user_knobs"]["model"] == model]


def test_a_constant_a_listed_value_and_a_draw_are_told_apart():
    found = told(1)
    assert found["train.epochs"] == (7, "constant")
    assert found["train.batch_size"] == (8, "value 1 of 2")
    assert found["train.optimizer.args.lr"] == (9, "drawn from the range")


def test_what_stands_in_an_alternative_says_which():
    assert told(runs("mlp")[0])["user_knobs.model"] == (4, "constant, in alternative 1 of 2 of user_knobs")
    inside = told(runs("cnn")[0])
    assert inside["user_knobs.dropout"] == (5, "drawn from the range, in alternative 2 of 2 of user_knobs")


def test_a_listed_value_is_the_one_that_the_run_has():
    file = parse(FILE.encode(), "f.yaml")
    for run in expand(file):
        place = told(run.number)["train.batch_size"][1]
        assert cell(run.leaf, "train.batch_size") == {"value 1 of 2": 32, "value 2 of 2": 64}[place]


def test_an_override_says_so():
    assert told(1, "train.epochs=5")["train.epochs"] == (1, "constant, set by --set")
    assert told(1, "train.batch_size=!list [8, 16]")["train.batch_size"][1].endswith("of 2, set by --set")


@pytest.mark.parametrize("run", [1, 7, 12])
def test_every_knob_of_the_run_is_explained_in_file_order(run):
    knobs = list(told(run))
    lines = [line for line, _ in told(run).values()]
    assert lines == sorted(lines)
    assert knobs[0] == "user_knobs.model" and knobs[-1] == "train.optimizer.args.lr"
