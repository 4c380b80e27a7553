"""The summary on GitHub's page: requirements, failures, the ranking, and never more than GitHub shows."""

from pathlib import Path

from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.junit import Judged
from rapidfire_cli.view.step_summary import MOST, step_summary
from tests.store.sweep import METADATA, row


def seen(rows: list[RunRow]) -> Overview:
    home = ExperimentDir(Path("digits"))
    return Overview(METADATA, RunState.FAILED, tuple(rows), home, METADATA.objective)


def test_it_shows_requirements_failures_and_the_ranking():
    rows = [row(1, 0.9), row(2, 0.95), row(3, state=RunState.FAILED, error="ValueError: <b> | `x`")]
    lines = step_summary(seen(rows), [Judged("loss<1", False, "required loss<1: it has 2")]).splitlines()
    assert lines[0] == "## digits: failed"
    assert r"- ❌ required loss&lt;1: it has 2" in lines
    assert any(r"failed: ValueError: &lt;b> \| \`x\`" in line for line in lines)
    titles, aligned, first, second, *_ = [line for line in lines if line.startswith("|")]
    assert titles.startswith(r"| rank |  | run | state | top1\_accuracy |")
    assert aligned.startswith("| -: | :- | -: |")
    assert [line.split(" | ")[2] for line in (first, second)] == ["2", "1"]
    assert {line.count(" | ") for line in (titles, aligned, first, second)} == {titles.count(" | ")}


def test_it_stops_before_github_drops_it_and_says_how_much_is_left():
    rows = [row(number, number / 100_000) for number in range(1, 30_001)]
    text = step_summary(seen(rows), [])
    assert MOST - 300 < len(text.encode()) <= MOST
    *_, last = text.splitlines()
    shown = sum(line.startswith("| ") for line in text.splitlines()) - 2
    assert last == f"{30_000 - shown:,} more lines"


def test_it_fits_beside_what_was_written_before():
    rows = [row(number, number / 100) for number in range(1, 50)]
    assert 900 < len(step_summary(seen(rows), [], room=1000).encode()) <= 1000
    assert step_summary(seen(rows), [], room=50) == ""
