"""`clean` frees the disk of what no listed run needs, and of nothing else."""

import io
import json
from dataclasses import replace

import pytest

from rapidfire_cli.app.control.cloning import Cloning
from rapidfire_cli.app.errors import REFUSED
from rapidfire_cli.app.trained import Asked, choose
from rapidfire_cli.app.verbs.clean import clean
from rapidfire_cli.durable.lock import Held, lock
from rapidfire_cli.facts import RunChanged, Saved
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.problems import Refusal
from rapidfire_cli.requests import CloneRun
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.syntax.parser import parse
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.formats import Output
from tests.store.sweep import METADATA, epoch

FILE = """
experiment: digits
mlspec: a:B
gridsearch:
  train: {epochs: 5, batch_size: 8, optimizer: {name: SGD, args: {lr: !list [LIST]}}}
"""


@pytest.fixture
def home(tmp_path):
    """Four completed runs, of which the file still has the first three, and the last fit trained one."""
    home = ExperimentDir(tmp_path / "digits")
    runs = [*expand(parse(FILE.replace("LIST", "0.1, 0.2, 0.3, 0.4").encode(), "digits.yaml"))]
    journal = SqliteJournal(home.journal)
    journal.enroll(METADATA, runs, [5] * 4)
    for run in runs:
        journal.record([epoch(run.number, 5, 0.9), Saved(run.number, 5, 100)])
        journal.record([RunChanged(run.number, RunState.COMPLETED)])
    journal.enroll(METADATA, runs[:1], [5])
    journal.close()
    home.file.write_text(FILE.replace("LIST", "0.1, 0.2, 0.3"))
    for directory in (*map(home.run, runs), home.run(replace(runs[0], number=9, id="f" * 16))):
        directory.mkdir(parents=True)
        (directory / "log.txt").write_text("trained")
    (home.runs / "notes").mkdir()
    home.rows.mkdir()
    (home.rows / "part").write_bytes(bytes(100))
    return home


def left(home: ExperimentDir) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in home.runs.iterdir())


def cleaned(home: ExperimentDir, sure=True, dry_run=False, output=Output.TABLE) -> int:
    return clean(str(home.path), None, sure, dry_run, output)


def test_the_weights_of_a_cleaned_run_are_said_to_be_deleted(home):
    cleaned(home)
    with pytest.raises(Refusal, match="the weights of run 4 were deleted by `rapidfire clean`"):
        choose(Asked(4, experiment=str(home.path)))
    run = next(one.run for one in known_runs(home.journal, 1) if one.run.number == 4)
    with pytest.raises(Refusal, match="the weights of run 4 were deleted by `rapidfire clean`"):
        Cloning(home).clone(run, CloneRun((4,), warm="all", wait=True), {4: run})


def test_runs_that_neither_the_file_nor_the_last_fit_asks_for_are_deleted(home, capsys):
    assert cleaned(home) == 0
    assert left(home) == ["1", "2", "3", "notes"] and not home.rows.exists()
    shown = capsys.readouterr()
    assert "run 4: the file no longer asks for it" in shown.out
    assert "run 9: the journal does not know it" in shown.out
    assert shown.err == "freed 114 B\n"
    assert cleaned(home) == 0 and capsys.readouterr().err == "nothing to clean\n"


def test_a_cleaned_run_trains_from_scratch_if_the_file_asks_for_it_again(home):
    cleaned(home)
    *others, run = known_runs(home.journal, 1)
    assert (run.state, run.durable, run.epoch) == (RunState.INTERRUPTED, 0, 5)
    assert {(each.state, each.durable) for each in others} == {(RunState.COMPLETED, 5)}


def test_a_dry_run_prints_what_would_be_deleted_even_during_a_fit(home, capsys):
    with lock(home.lock, "fit"):
        assert cleaned(home, dry_run=True, output=Output.JSON) == 0
    shown = capsys.readouterr()
    assert [each["run"] for each in json.loads(shown.out)["deleted"]] == [4, None, None]
    assert "would be freed" in shown.err and "4" in left(home)


def test_nothing_is_deleted_during_a_fit(home):
    with lock(home.lock, "fit"), pytest.raises(Held):
        cleaned(home)
    assert "4" in left(home)


@pytest.mark.parametrize(
    ("typed", "on_terminal", "code"), [("y\n", True, 0), ("\n", True, REFUSED), ("y\n", False, REFUSED)]
)
def test_a_person_at_a_terminal_is_asked_first(home, monkeypatch, typed, on_terminal, code):
    answer = io.StringIO(typed)
    answer.isatty = lambda: on_terminal
    monkeypatch.setattr("sys.stdin", answer)
    assert cleaned(home, sure=False) == code
    assert ("4" in left(home)) == (code == REFUSED)
