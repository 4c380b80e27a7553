"""`plot` reads the journal, and refuses where there is nothing to draw."""

import math
from importlib.util import find_spec

import pytest

from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.verbs import plot as module
from rapidfire_cli.app.verbs.plot import plot
from rapidfire_cli.facts import RunChanged
from rapidfire_cli.problems import Refusal
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.plots import importance
from tests.app.fake_workers import Cli, FaultRates, sha
from tests.store.sweep import enrolled, epoch


@pytest.fixture
def home(tmp_path):
    journal = enrolled(tmp_path / "digits" / "journal.db", count=24)
    journal.record([epoch(run, number, run / 30 + number / 100) for run in range(1, 24) for number in (1, 2)])
    journal.record([RunChanged(run, RunState.COMPLETED) for run in range(1, 24)])
    journal.record([epoch(24, 1, math.nan), RunChanged(24, RunState.FAILED, "no")])
    journal.close()
    return tmp_path / "digits"


@pytest.mark.parametrize("kind", ["curves", "parallel", "importance"])
@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_plot_is_drawn_into_the_file(kind, suffix, home, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importance, "TREES", 5)
    file = tmp_path / f"plot{suffix}"
    assert plot(kind, file, str(home), None, None) == 0
    assert file.read_bytes().startswith(b"<?xml" if suffix == ".svg" else b"\x89PNG")
    assert capsys.readouterr().out == f"{file}\n"


def test_another_metric_can_be_plotted(home, tmp_path):
    file = tmp_path / "plot.svg"
    plot("curves", file, str(home), None, "train.loss")
    assert "<!-- train loss -->" in file.read_text()
    with pytest.raises(Refusal, match="no run has a metric"):
        plot("curves", file, str(home), None, "los")


def test_the_rungs_of_a_bracket_are_drawn(tmp_path):
    cli = Cli(tmp_path, lambda lr, epoch: lr * epoch)
    cli.fit(sha(8), FaultRates())
    file = tmp_path / "rungs.svg"
    plot("rungs", file, str(cli.home.path), None, None)
    assert "<!-- quality at each rung -->" in file.read_text()


def refused(kind: str, home, path) -> str:
    with pytest.raises(Refusal) as refusal:
        plot(kind, path / "plot.svg", str(home), None, None)
    assert not (path / "plot.svg").exists()
    return str(refusal.value)


def test_nothing_is_drawn_where_there_is_nothing_to_show(home, tmp_path):
    assert "these runs had no rungs" in refused("rungs", home, tmp_path)
    few = tmp_path / "few" / "journal.db"
    journal = enrolled(few, count=19)
    assert "no run has finished an epoch yet" in refused("curves", few.parent, tmp_path)
    assert "no run has a value of the metric yet" in refused("parallel", few.parent, tmp_path)
    journal.record([epoch(run, 1, 0.5) for run in range(1, 20)])
    journal.record([RunChanged(run, RunState.COMPLETED) for run in range(1, 20)])
    said = refused("importance", few.parent, tmp_path)
    assert "found: 19 finished runs with a value\nexpected: at least 20" in said


def test_a_missing_package_is_one_line_that_names_the_extra(home, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "sklearn" else find_spec(name))
    with pytest.raises(Unavailable) as missing:
        plot("importance", tmp_path / "plot.svg", str(home), None, None)
    said = "`plot importance` needs the package scikit-learn: pip install 'rapidfire-cli[plot]'"
    assert str(missing.value) == said
