"""What only the runs of a file tell: that they begin with weights which the file trains."""

import pytest

from rapidfire_cli.manifest.check import find_problems
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.problems import position
from rapidfire_cli.syntax.parser import parse

FILE = """\
mlspec: a.b:C
config_group:
  - config: {train: {epochs: 3, batch_size: 8, optimizer: {name: SGD}}}
  - config:
      warm_start: {run: %s, epoch: %d}
      train: {epochs: 3, batch_size: 16, optimizer: {name: SGD}}
"""
(FIRST,) = expand(parse(FILE.rpartition("  - config")[0].encode(), "f.yaml"))


@pytest.mark.parametrize(
    ("run", "epoch", "found"),
    [
        (FIRST.id, 3, []),
        (FIRST.id, 4, [("f.yaml:5:52", "that run has no epoch 4")]),
        ("a" * 16, 1, [("f.yaml:5:25", f"no run of this file has the id `{'a' * 16}`")]),
    ],
)
def test_a_warm_start_names_a_run_of_the_file_and_an_epoch_that_it_trains(run, epoch, found):
    problems = find_problems(parse((FILE % (f"'{run}'", epoch)).encode(), "f.yaml"))
    assert [(position(each.span), each.message) for each in problems if each.span] == found
    assert {each.code for each in problems} <= {"E313"}
