"""Runs chosen by a condition on their knobs."""

import pytest

from rapidfire_cli.manifest.choice import chooser
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.problems import Refusal, Span
from rapidfire_cli.syntax.parser import parse

FILE = parse(
    b"""\
mlspec: a.b:C
config_group:
  - gridsearch:
      train: {epochs: 1, batch_size: !list [8, 16], optimizer: {name: SGD, args: {lr: !list [0.1, 0.01]}}}
  - config:
      train: {epochs: 1, batch_size: 4, optimizer: {name: Adam, args: {weight_decay: 0.5}}}
""",
    "experiment.yaml",
)
AT = Span("--where", 1, 1)


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        ("train.batch_size == 8", [1, 2]),
        ("train.batch_size < 10 and train.optimizer.args.lr < 0.1", [2]),
        ("train.optimizer.args.weight_decay > 0", [5]),
        ("train.epochs == 2", []),
    ],
)
def test_a_run_that_lacks_the_knobs_is_not_chosen(condition, numbers):
    chosen = chooser(FILE, condition, AT)
    assert [run.number for run in expand(FILE) if chosen(run)] == numbers


def test_a_condition_on_a_knob_that_no_run_has_is_refused():
    with pytest.raises(Refusal):
        chooser(FILE, "train.batchsize == 8", AT)
