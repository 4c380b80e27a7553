"""A person's word for an experiment is a file, a directory, a name, or nothing at all."""

import os
from pathlib import Path

import pytest

from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.layout import ExperimentDir, find, parent_directory
from rapidfire_cli.store.queries import overview
from tests.store.sweep import enrolled, runs


def unread(path: Path) -> str:
    raise AssertionError(f"{path} need not be read")


@pytest.fixture
def parent(tmp_path):
    for age, name in enumerate(["digits", "imdb"]):
        journal = ExperimentDir(tmp_path / name).journal
        enrolled(journal).close()
        os.utime(journal, (age, age))
    return tmp_path


def test_an_experiments_things_have_their_places():
    home = ExperimentDir(Path("rapidfire_experiments/digits"))
    places = [home.file, home.manifest, home.journal, home.lock, home.control, home.runs, home.misc]
    assert [place.name for place in places] == [
        *("experiment.yaml", "manifest.jsonl", "journal.db", "lock", "control.sock", "runs", "misc")
    ]
    assert home.run(runs(1)[0]) == home.runs / "1-0000000000000001"


def test_experiments_live_in_the_working_directory_unless_said_otherwise():
    assert parent_directory(None) == parent_directory("") == Path("rapidfire_experiments")
    assert parent_directory("/big/disk") == Path("/big/disk")


def test_no_word_means_the_experiment_last_written_to(parent):
    assert find(parent, None, unread).path.name == "imdb"
    enrolled(ExperimentDir(parent / "digits").journal)
    assert find(parent, None, unread).path.name == "digits"


def test_looking_at_an_experiment_does_not_make_it_the_newest(parent):
    overview(ExperimentDir(parent / "digits").journal, alive=False)
    assert find(parent, None, unread).path.name == "imdb"


def test_a_name_means_the_experiment_of_that_name(parent):
    assert find(parent, "digits", unread) == ExperimentDir(parent / "digits")


def test_a_directory_means_the_experiment_in_it(parent):
    assert find(Path("elsewhere"), str(parent / "imdb"), unread) == ExperimentDir(parent / "imdb")


def test_a_file_means_the_experiment_it_describes(parent, tmp_path):
    file = tmp_path / "anything.yaml"
    file.write_text("experiment: digits")
    assert find(parent, str(file), lambda path: "digits") == ExperimentDir(parent / "digits")


def test_an_unknown_name_is_refused_with_the_nearest_known(parent):
    with pytest.raises(Refusal) as refused:
        find(parent, "digit", unread)
    (problem,) = refused.value.problems
    assert (problem.code, problem.expected) == ("E601", "digits, imdb")
    assert problem.hint == "did you mean `digits`?"


def test_where_nothing_was_ever_trained_the_way_to_begin_is_said(tmp_path):
    with pytest.raises(Refusal) as refused:
        find(tmp_path, None, unread)
    assert "rapidfire fit" in refused.value.problems[0].hint
