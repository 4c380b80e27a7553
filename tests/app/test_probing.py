"""What a worker found becomes problems of the file."""

import pytest

from rapidfire_cli.app.probing import problems
from rapidfire_cli.engine.messages import Probed
from rapidfire_cli.problems import Span
from rapidfire_cli.syntax.ast import ExperimentFile

AT = Span("--require", 1, 1, 1)


@pytest.mark.parametrize(
    ("metric", "known"),
    [
        *(("loss", True), ("train.loss", True), ("head.f1", True), ("train.head.f1", True)),
        *(("f1", False), ("test.loss", False), ("head.loss", False), ("train.f1", False)),
    ],
)
def test_a_metrics_name_can_hold_dots(metric, known):
    answer = Probed((), (("loss", "head.f1"),))
    found = problems(ExperimentFile("one", ()), [], answer, [(metric, AT)])

    assert [problem.code for problem in found] == ([] if known else ["E421"])
