"""A JUnit report has a case for each run and each requirement, in the shape that CI systems read."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.terms import OomRetry, RunState
from rapidfire_cli.view.junit import Judged, junit
from tests.store.sweep import METADATA, row

SUITE = {"name", "tests", "failures", "errors", "skipped", "time"}
CASE = {"name", "classname", "time"}
INSIDE = ("failure", "skipped", "system-out")
ROWS = (
    row(1, 0.9),
    row(2, state=RunState.FAILED, error="ValueError: <x> & \x00\x1b"),
    row(3, 0.5, RunState.PRUNED),
    row(4, state=RunState.STOPPED),
    row(5, state=RunState.FAILED, error="out of memory"),
    row(6, 0.7, origin=OomRetry(5)),
)


@pytest.fixture
def root() -> ElementTree.Element:
    seen = Overview(METADATA, RunState.FAILED, ROWS, ExperimentDir(Path("digits")), METADATA.objective)
    judged = [Judged("loss<1", True, "required loss<1: 0.5"), Judged("loss<0", False, "required loss<0: 0.5")]
    return ElementTree.fromstring(junit(seen, judged, {1: 2.5, 3: 1.25}))


def test_every_run_and_every_requirement_is_a_case(root):
    names = [case.get("name") for case in root.iter("testcase")]
    assert names == [
        "run 1 (batch_size=64, lr=0.001)",
        "run 2 (batch_size=32, lr=0.0001)",
        "run 3 (batch_size=64, lr=0.01)",
        "run 4 (batch_size=32, lr=0.001)",
        "run 6 (batch_size=32, lr=0.01)",  # in the place of run 5
        "loss<1",
        "loss<0",
    ]


def test_failed_runs_and_missed_requirements_fail_and_runs_that_did_not_end_are_skipped(root):
    def numbers(tag: str) -> list[str]:
        return [
            case.get("name", "")[:6].strip() for case in root.iter("testcase") if case.find(tag) is not None
        ]

    assert numbers("failure") == ["run 2", "loss<0"]
    assert numbers("skipped") == ["run 4"]
    messages = [failure.get("message") for failure in root.iter("failure")]
    assert messages == ["ValueError: <x> & \ufffd\ufffd", "required loss<0: 0.5"]


def test_the_totals_are_those_of_the_cases(root):
    assert {key: root.get(key) for key in SUITE - {"name"}} == {
        "tests": "7",
        "failures": "2",
        "errors": "0",
        "skipped": "1",
        "time": "3.750",
    }
    assert [(suite.get("name"), suite.get("tests")) for suite in root] == [
        ("digits", "5"),
        ("digits.requirements", "2"),
    ]


def test_the_shape_is_that_of_the_usual_schema(root):
    """The elements, their order and their attributes as in junit-10.xsd of Jenkins."""
    assert root.tag == "testsuites"
    for suite in root:
        assert (suite.tag, set(suite.attrib)) == ("testsuite", SUITE)
        for case in suite:
            assert (case.tag, set(case.attrib)) == ("testcase", CASE)
            assert float(case.get("time", "")) >= 0
            inside = [INSIDE.index(each.tag) for each in case]
            assert inside == sorted(inside)
            assert all(set(each.attrib) <= {"message", "type"} for each in case)


def test_what_a_run_measured_is_its_output(root):
    assert root[0][0].findtext("system-out", "").splitlines() == [
        f"id {1:016x}",
        "seed 42",
        "completed at epoch 5/5",
        "validation.loss 0.5000",
        "validation.top1_accuracy 0.9000",
    ]
