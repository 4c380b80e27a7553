"""A directory belongs to one file: another one is refused, and none that was edited, moved or copied is."""

import os
import shutil
from pathlib import Path

import pytest

from rapidfire_cli.problems import Refusal, Span
from rapidfire_cli.store.known_runs import source_of
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.metadata import Metadata
from rapidfire_cli.store.source import Source, check_source, file_source
from rapidfire_cli.terms import Objective
from tests.store.sweep import enrolled

AT = Span("file.yaml", 0, 0)


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def written(file: str, text: str = "", name: str | None = None, home: str = "kept/lr") -> Source | None:
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text or file)
    return file_source(path, name, ExperimentDir(Path(home)))


def refused(was: Source | None, now: Source | None, home: str = "kept/lr") -> str:
    """The file that the directory belongs to; empty where nothing is refused."""
    try:
        check_source(ExperimentDir(Path(home)), was, now, AT)
    except Refusal as refusal:
        (problem,) = refusal.problems
        assert (problem.code, problem.span) == ("E609", AT)
        return problem.expected
    return ""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("sweep one.yaml", "sweep-one.yaml"),
        ("実験.yaml", "モデル.yaml"),
        ("a/lr.yaml", "b/lr.yaml"),
        (f"{'x' * 110}1.yaml", f"{'x' * 110}2.yaml"),
    ],
)
def test_another_file_that_leads_to_the_same_directory_is_refused(place, first, second):
    assert refused(written(first), written(second)) == first


def test_a_name_that_another_files_directory_happens_to_have_is_refused(place):
    assert refused(written("lr.yaml"), written("other.yaml", name="lr")) == "lr.yaml"
    assert refused(written("named.yaml", name="lr"), written("lr.yaml")) == "named.yaml"


def test_a_name_that_was_given_is_one_experiment_wherever_it_is_written(place):
    assert not refused(written("a/one.yaml", name="lr"), written("b/two.yaml", name="lr"))


def test_an_edited_file_is_the_same_file_and_so_is_one_that_is_given_its_name(place):
    was = written("lr.yaml", "before")
    assert not refused(was, written("lr.yaml", "after"))
    assert not refused(was, written("lr.yaml", "after", name="lr"))
    assert not refused(written("lr.yaml", name="lr"), was)


def test_a_file_that_moved_is_the_same_file(place):
    was = written("lr.yaml", "before")
    Path("lr.yaml").unlink()
    assert not refused(was, written("sweeps/lr.yaml", "after"))


def test_a_checkout_at_another_place_is_the_same_file(place):
    was = written("lr.yaml", home="../kept/lr")
    shutil.copytree(place, place.with_name("copy"))
    os.chdir(place.with_name("copy"))
    assert not refused(
        was, file_source(Path("lr.yaml"), None, ExperimentDir(Path("../kept/lr"))), "../kept/lr"
    )


def test_a_copy_of_the_project_with_its_experiments_is_another_project(place):
    was = written("lr.yaml", "before")
    shutil.copytree(place, place.with_name("copy"))
    os.chdir(place.with_name("copy"))
    assert not refused(was, written("lr.yaml", "after"))


def test_two_projects_that_share_a_directory_for_experiments_do_not_share_an_experiment(place):
    was = written("experiment.yaml", "mine", home="../kept/experiment")
    os.chdir(place.parent)
    now = written("other/experiment.yaml", "yours", home="kept/experiment")
    assert refused(was, now, "kept/experiment") == "project/experiment.yaml"


def test_what_the_directory_itself_holds_belongs_to_it(place):
    assert written("kept/lr/experiment.yaml", name="lr") is None
    assert not refused(written("lr.yaml"), None)
    assert not refused(None, written("lr.yaml"))


def test_a_link_to_the_file_is_the_file(place):
    was = written("real/lr.yaml")
    Path("linked").symlink_to("real")
    assert file_source(Path("linked/lr.yaml"), None, ExperimentDir(Path("kept/lr"))) == was


def test_python_is_known_by_the_class_where_no_name_is_given():
    one, other = Source("a:Spec", given=False), Source("b:Spec", given=False)
    assert refused(one, other, "kept/Spec") == "a:Spec"
    assert not refused(one, one) and not refused(one, Source("Spec", given=True))


def test_the_journal_keeps_it_whatever_the_file_is_called(tmp_path):
    path = tmp_path / "journal.db"
    assert source_of(path) is None
    source = Source("\udcff", False, "../\udcff.yaml")
    enrolled(path, metadata=Metadata("digits", Objective("loss", "min"), source=source)).close()
    assert source_of(path) == source
