"""A pytest plugin (`-p tests.campaign.kept`): keep what passed, go on with the rest; for the report."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import pytest

from tests.campaign.arena import ROOT

KEPT = ROOT / "campaign-tests.jsonl"  # one line per test that ended; delete it to begin anew
HEAD = "| long tests | passed | skipped | failed |\n|---|---|---|---|"


@dataclass(frozen=True, slots=True)
class Tried:
    """A test that ended, and how: `passed`, `skipped` or `failed`."""

    test: str
    outcome: str
    commit: str

    @property
    def file(self) -> str:
        return self.test.partition("::")[0]


def tried(file: Path) -> list[Tried]:
    """The tests that ended, in the order of their files; the last time that each was tried counts."""
    lines = file.read_text().splitlines() if file.exists() else []
    last = {each.test: each for each in (Tried(**json.loads(line)) for line in lines)}
    return sorted(last.values(), key=lambda each: each.test)


def table(tests: Iterable[Tried]) -> Iterator[str]:
    """Lines of the report: how the tests of each file ended."""
    yield HEAD
    for file, own in groupby(tests, lambda each: each.file):
        ends = [each.outcome for each in own]
        yield (
            f"| {file} | "
            + " | ".join(f"{ends.count(end):,}" for end in ("passed", "skipped", "failed"))
            + " |"
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what passed before."""
    passed = {each.test for each in tried(KEPT) if each.outcome == "passed"}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
    items[:] = [item for item in items if item.nodeid not in passed]


class Keeper:
    """Writes down how each test ended, in the process that started the others."""

    def __init__(self, commit: str) -> None:
        self._commit = commit
        self._worst: dict[str, str] = {}  # of setup, call and teardown

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        before = self._worst.get(report.nodeid, "passed")
        self._worst[report.nodeid] = before if report.outcome == "passed" else report.outcome
        if report.when == "teardown":
            ended = Tried(report.nodeid, self._worst.pop(report.nodeid), self._commit)
            with KEPT.open("a") as file:
                file.write(json.dumps(asdict(ended)) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Write down in one process, also where pytest-xdist starts more."""
    if not hasattr(config, "workerinput"):
        from tests.campaign.report import commit

        config.pluginmanager.register(Keeper(commit()))
