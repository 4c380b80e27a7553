"""A JUnit report, as CI systems show it: a test case for each run and for each requirement.

The shape is that of the Ant task, which Jenkins, GitLab and GitHub actions read: test suites of test cases,
each of which may hold a failure or say that it was skipped.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from rapidfire_cli.store.queries import Overview, RunRow, lasting
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.knob_columns import knob_value, short_names, varied
from rapidfire_cli.view.wording import metric_text

NOT_RUN = frozenset(
    {RunState.QUEUED, RunState.RUNNING, RunState.INTERRUPTED, RunState.STOPPED, RunState.DELETED}
)
"""The states of runs that neither passed nor failed."""

_NOT_XML = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF), "\N{REPLACEMENT CHARACTER}")
"""The characters that XML 1.0 cannot hold."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A requirement, and what became of it."""

    name: str
    met: bool
    text: str


def junit(seen: Overview, requirements: Sequence[Judged], seconds: Mapping[int, float]) -> str:
    """The report as XML; `seconds` is how long each run trained."""
    rows, name = lasting(seen.rows), seen.metadata.experiment
    paths = varied(seen)
    cases = [_run(row, name, paths, seconds.get(row.number, 0.0)) for row in rows]
    suites = [_suite(name, cases)]
    if requirements:
        suites.append(_suite(f"{name}.requirements", [_requirement(one, name) for one in requirements]))
    root = ElementTree.Element(
        "testsuites", _totals(case for suite in suites for case in suite.iter("testcase"))
    )
    root.extend(suites)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(name: str, cases: Sequence[ElementTree.Element]) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", {"name": _clean(name), **_totals(cases)})
    suite.extend(cases)
    return suite


def _totals(cases: Iterable[ElementTree.Element]) -> dict[str, str]:
    listed = list(cases)
    skipped, failed = (sum(case.find(tag) is not None for case in listed) for tag in ("skipped", "failure"))
    seconds = sum(float(case.get("time", 0)) for case in listed)
    return {
        "tests": f"{len(listed)}",
        "failures": f"{failed}",
        "errors": "0",
        "skipped": f"{skipped}",
        "time": f"{seconds:.3f}",
    }


def _run(row: RunRow, name: str, paths: Sequence[str], seconds: float) -> ElementTree.Element:
    knobs = ", ".join(
        f"{short}={knob_value(row.config, path)}"
        for path, short in zip(paths, short_names(paths), strict=True)
    )
    case = _case(f"run {row.number}{f' ({knobs})' if knobs else ''}", f"{name}.runs", seconds)
    if row.state is RunState.FAILED:
        ElementTree.SubElement(case, "failure", {"type": "RunFailed", "message": _clean(row.error)})
    elif row.state in NOT_RUN:
        ElementTree.SubElement(case, "skipped", {"message": str(row.state)})
    values = {
        f"{split}.{metric}": value for split, named in row.metrics.items() for metric, value in named.items()
    }
    lines = [f"id {row.id}", f"seed {row.seed}", f"{row.state} at epoch {row.epoch}/{row.epochs}"]
    lines += [f"{metric} {metric_text(value)}" for metric, value in values.items()]
    ElementTree.SubElement(case, "system-out").text = _clean("\n".join(lines))
    return case


def _requirement(one: Judged, name: str) -> ElementTree.Element:
    case = _case(one.name, f"{name}.requirements", 0.0)
    if not one.met:
        ElementTree.SubElement(case, "failure", {"type": "RequirementMissed", "message": _clean(one.text)})
    ElementTree.SubElement(case, "system-out").text = _clean(one.text)
    return case


def _case(name: str, group: str, seconds: float) -> ElementTree.Element:
    said = {"name": _clean(name), "classname": _clean(group), "time": f"{seconds:.3f}"}
    return ElementTree.Element("testcase", said)


def _clean(text: str) -> str:
    return text.translate(_NOT_XML).encode("utf-8", "replace").decode()
