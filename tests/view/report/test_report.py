"""A report holds in one file what the page would ask a server for, and nothing in it can be executed."""

import base64
import hashlib
import json
import re

import pytest

from rapidfire_cli.app import page as shown
from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.verbs.report import report
from rapidfire_cli.problems import Refusal
from rapidfire_cli.view.page.bundle import Bundle
from rapidfire_cli.view.report.page import Contents, report_page
from tests.view.page.pages import experiment, visitor
from tests.view.page.sweeps import grid, halving

SMALL = Bundle(b"let program = 1;", b"body { color: red }")


def data_of(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="report">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.fixture
def written(tmp_path, monkeypatch):
    """What a report of a sweep holds."""
    monkeypatch.setattr("rapidfire_cli.app.verbs.report.bundle", lambda: SMALL)
    home = experiment(tmp_path)
    halving(home, 9)
    assert report(str(home.path), None, tmp_path / "report.html") == 0
    return home, (tmp_path / "report.html").read_text("utf-8")


def test_a_report_answers_as_the_server_does(written):
    home, text = written
    data, client = data_of(text), visitor(home)
    for at in ("rungs", "requests", "runs/3", "runs/10", "runs/3/log"):
        assert data["parts"][at] == client.get(f"/api/{at}").json(), at
    assert data["parts"]["runs/3/why"]["why"] == client.get("/api/runs/3/why").json()["why"]
    for metric in data["snapshot"]["metrics"]:
        packed = client.get("/api/series", params=dict(zip(("split", "metric"), metric, strict=True))).content
        assert base64.b64decode(data["series"][".".join(metric)]) == packed
    assert base64.b64decode(data["times"]) == client.get("/api/times").content
    live = client.get("/api/changes").json()["data"]
    assert data["snapshot"]["runs"] == live["runs"]


def test_a_reports_policy_names_its_program_and_its_style_alone(written):
    _, text = written
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    for part in (SMALL.script, SMALL.style):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(part).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_markup_in_data_stays_data():
    attack = '</script><script>alert(1)</script><!-- & "'
    text = report_page(Contents({"experiment": attack}, {}, b"", {"runs/1/log": {"log": attack}}), SMALL)
    assert "<script>alert" not in text
    assert data_of(text)["parts"]["runs/1/log"]["log"] == attack


def test_of_very_many_runs_only_some_have_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr(shown, "PAGES", 9)
    home = experiment(tmp_path)
    grid(home, 12, 1)
    found, runs = shown.contents(home)
    assert runs == 12
    pages = [int(at.removeprefix("runs/")) for at in found.parts if re.fullmatch(r"runs/\d+", at)]
    assert {1, 2, 3} < {*pages}
    assert len(pages) <= 9
    assert found.snapshot["runs"]["number"] == [*range(1, 13)]


def test_a_report_is_not_written_over_a_directory_or_without_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr("rapidfire_cli.app.verbs.report.bundle", lambda: None)
    with pytest.raises(Refusal, match="is a directory"):
        report(None, None, tmp_path)
    with pytest.raises(Unavailable, match="make web"):
        report(None, None, tmp_path / "report.html")
