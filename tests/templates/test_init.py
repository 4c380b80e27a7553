"""`rapidfire init` writes all of a template or nothing, and never over other files."""

import shutil
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.templates import TEMPLATES, Name
from rapidfire_cli.app.verbs.init import init, place
from rapidfire_cli.cli.describe import init as verb
from rapidfire_cli.durable import disk
from rapidfire_cli.problems import Refusal
from tests.scenarios.conftest import ROOT

FILES = [("data/a/1.txt", b"one"), ("data/b.txt", b"two"), ("configs/c.yaml", b"three")]


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_every_template_is_described_in_the_help():
    assert set(TEMPLATES) == set(get_args(Name))
    described = [line.split()[0] for line in verb.__doc__.partition("\b\n")[2].strip().splitlines()]
    assert described == list(TEMPLATES)


def test_templates_are_the_files_of_the_repository(tmp_path, capsys):
    assert init(tmp_path / "new", "causal_lm") == 0
    files = contents(tmp_path / "new")
    for name in ("specs/causal_lm.py", "configs/causal_lm.yaml"):
        assert files[name] == (ROOT / name).read_bytes()
    assert set(files) - {"specs/causal_lm.py", "configs/causal_lm.yaml"} == {
        "data/sources_train.txt",
        "data/sources_validation.txt",
    }
    assert f"cd {tmp_path / 'new'}\n  rapidfire expand" in capsys.readouterr().out


def test_a_wheel_has_the_files_of_the_templates():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {name: f"rapidfire_cli/templates/{name}" for name in ("specs", "configs")}


def test_a_second_template_joins_the_first_and_leaves_equal_files_alone(tmp_path):
    init(tmp_path, "causal_lm")
    written = (tmp_path / "specs" / "causal_lm.py").stat().st_mtime_ns
    init(tmp_path, "causal_lm")
    init(tmp_path, "imdb")
    assert (tmp_path / "specs" / "causal_lm.py").stat().st_mtime_ns == written
    assert {"causal_lm.yaml", "imdb.yaml"} <= {path.name for path in (tmp_path / "configs").iterdir()}


def test_files_with_other_content_are_named_and_nothing_is_written(tmp_path):
    for name in ("specs/imdb.py", "configs/imdb.yaml"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(Refusal) as refused:
        init(tmp_path, "imdb")
    assert [problem.span.file for problem in refused.value.problems] == [
        str(tmp_path / "specs/imdb.py"),
        str(tmp_path / "configs/imdb.yaml"),
    ]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("call", ["create", "rename", "make_directory"])
def test_a_failure_in_the_middle_leaves_nothing_behind(tmp_path, monkeypatch, call, existing):
    place_to = tmp_path / "project"
    if existing:
        place_to.mkdir()
        (place_to / "mine.txt").write_text("mine")
    before = contents(tmp_path)
    usual, calls = getattr(disk, call), []

    def failing(*arguments, **options):
        calls.append(call)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return usual(*arguments, **options)

    monkeypatch.setattr(disk, call, failing)
    with pytest.raises(OSError, match="No space"):
        place(place_to, FILES)
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.rglob("*")] == (["project", "mine.txt"] if existing else [])


def test_what_a_killed_init_was_writing_is_deleted_by_the_next(tmp_path):
    left = tmp_path / f".tmp-{2**22 + 1}-init"
    left.mkdir()
    place(tmp_path, FILES)
    assert contents(tmp_path) == dict(FILES)
    assert not left.exists()


@pytest.mark.parametrize("name", ["digits", "imagenet", "tabular"])
def test_without_scikit_learn_one_line_names_the_extra(tmp_path, monkeypatch, name):
    for module in ("sklearn", "sklearn.datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Unavailable, match=r"^[^\n]*pip install 'rapidfire-cli\[demo\]'$"):
        init(tmp_path, name)
    assert not contents(tmp_path)


def test_texts_need_no_extra(tmp_path, monkeypatch):
    for module in ("sklearn", "sklearn.datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    assert init(tmp_path, "imdb") == 0


def test_demo_data_are_the_same_every_time(filled, tmp_path):
    shutil.rmtree(tmp_path)
    for name in ("imdb", "causal_lm", "tabular"):
        init(tmp_path, name)
    there = contents(filled)
    assert all(there[name] == content for name, content in contents(tmp_path).items())
