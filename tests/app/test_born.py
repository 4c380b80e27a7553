"""Verbs that look at a file say which runs they do not know: those that are born while others train."""

from pathlib import Path

import pytest

from rapidfire_cli.app.debugging import debug
from rapidfire_cli.app.devices import DeviceRequest
from rapidfire_cli.app.experiments import load_experiment
from rapidfire_cli.app.files import Given
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.verbs.diff import diff
from rapidfire_cli.app.verbs.expand import Shown, expand
from rapidfire_cli.app.verbs.freeze import freeze
from rapidfire_cli.app.verbs.status import status
from rapidfire_cli.problems import Refusal
from rapidfire_cli.view.comparison import Comparison, comparison_table
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.tables import coloured
from tests.app.fake_workers import FaultRates
from tests.app.test_forking import known, place, text
from tests.app.test_searching import text as search


def written(path: Path, said: str) -> Given:
    path.write_text(said)
    return Given(path)


def test_the_difference_of_files_says_how_many_runs_are_not_compared(tmp_path, capsys):
    before, after = written(tmp_path / "a.yaml", search(8, 3)), written(tmp_path / "b.yaml", search(9, 3))
    assert diff(before, after, Output.TABLE, False) == 0
    assert (
        "not compared: runs that are born while others train (5 before and 6 after)"
        in capsys.readouterr().out
    )
    population = written(tmp_path / "c.yaml", text())
    assert diff(population, population, Output.TABLE, False) == 0
    assert "(4 before and 4 after)" in capsys.readouterr().out


def test_a_schedule_has_the_forks_of_a_population_and_says_that_it_has_no_proposals(tmp_path, capsys):
    assert expand(written(tmp_path / "a.yaml", text()), False, None, Shown(slots=6)) == 0
    assert "6 slots: 36 run-epochs in 6 epochs of wall time, 0% idle" in capsys.readouterr().out
    gangs = written(tmp_path / "gangs.yaml", text().replace("  train:\n", "  train:\n    gpus: 2\n"))
    assert expand(gangs, False, None, Shown(slots=12)) == 0
    assert "in 6 epochs of wall time, 0% idle; 6 run-epochs per slot" in capsys.readouterr().out
    one = written(tmp_path / "b.yaml", search(4, 3).replace("epochs: 2", "epochs: 1"))
    assert expand(one, False, None, Shown(slots=3)) == 0
    said = capsys.readouterr().out
    assert "3 run-epochs in 1 epoch of wall time" in said
    assert "(without 1 run that a search proposes)" in said


def test_a_run_that_is_not_born_yet_is_not_explained_by_its_file(tmp_path, capsys):
    assert expand(written(tmp_path / "a.yaml", text()), False, 7, Shown()) == 2
    assert (
        "hint: use `rapidfire why RUN` for runs that are born while others train" in capsys.readouterr().err
    )


def test_a_fork_cannot_be_debugged(tmp_path):
    cli = place(tmp_path)
    assert cli.fit(text(), FaultRates(), 1)
    loaded = load_experiment(Given(cli.path / "file.yaml"), str(cli.home.path.parent))
    with pytest.raises(Refusal, match="run 7 cannot be debugged"):
        debug(loaded, 7, DeviceRequest())
    with pytest.raises(Refusal, match="run 70 does not exist"):
        debug(loaded, 70, DeviceRequest())


def test_a_frozen_file_replaces_no_file_unless_it_is_forced_to(tmp_path):
    cli, parent = place(tmp_path), str(tmp_path / "experiments")
    assert cli.fit(text(), FaultRates(), 1)
    file = tmp_path / "frozen.yaml"
    file.write_text("kept")
    with pytest.raises(Refusal, match="this file already exists"):
        freeze(None, parent, file)
    assert file.read_text() == "kept"
    assert freeze(None, parent, file, force=True) == 0
    assert file.read_text().count("warm_start: {run: ") == sum(
        one.run.warm_start is not None and one.state == "completed" for one in known(cli).values()
    )


def test_forks_have_a_column_of_their_source(tmp_path, capsys):
    cli = place(tmp_path)
    assert cli.fit(text(), FaultRates(), 1)
    assert status(None, str(tmp_path / "experiments"), False, Output.TABLE) == 0
    assert "fork of" in capsys.readouterr().out.partition("\n")[0]


def test_on_a_narrow_terminal_a_comparison_names_the_runs_that_are_not_shown(tmp_path):
    cli = place(tmp_path)
    assert cli.fit(text(), FaultRates(), 1)
    seen = open_overview(str(cli.home.path), None, unlisted=True)
    table = comparison_table(Comparison(seen, seen.rows[:6]))
    lines = [line.plain for line in coloured(table, 40)]
    assert all(len(line) <= 40 for line in lines[:-1])
    assert lines[0].split() == ["run", "1"]
    assert lines[-1] == "not shown: run 2, run 3, run 4, run 5, run 6"
