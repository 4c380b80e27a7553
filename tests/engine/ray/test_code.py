"""The working directory travels as git would commit it, or without git but for what is easily made again."""

import subprocess
from pathlib import Path

import pytest

from rapidfire_cli.engine.ray import code
from rapidfire_cli.engine.ray.code import TooLarge, packed, unpack

FILES = (
    *("mine.py", "package/deep.py", "file with a space.yaml", "ignored.bin"),
    *("venv/pyvenv.cfg", "venv/lib/torch.py", "experiments/a/journal.db", "experiments/a/runs/x"),
    *("package/__pycache__/deep.pyc", ".hidden/file"),
)


@pytest.fixture
def directory(tmp_path) -> Path:
    for name in FILES:
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "project" / ".gitignore").write_text("*.bin\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "data").write_text("data")
    (tmp_path / "project" / "linked").symlink_to(tmp_path / "outside")
    (tmp_path / "project" / "data").symlink_to(tmp_path / "outside" / "data")
    return tmp_path / "project"


def arrived(directory: Path, target: Path) -> set[str]:
    unpack(packed(directory), target, target / "none")
    return {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}


def test_without_git_all_but_hidden_files_and_what_can_be_made_again(directory, tmp_path):
    kept = {"mine.py", "package/deep.py", "file with a space.yaml", "ignored.bin", "data"}
    assert arrived(directory, tmp_path / "there") == kept
    assert (tmp_path / "there" / "data").read_text() == "data"


def test_with_git_what_it_would_commit(directory, tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=directory, check=True)
    subprocess.run(["git", "add", "mine.py", "package"], cwd=directory, check=True)
    (directory / "package" / "deep.py").write_text("changed")
    kept = {"mine.py", "package/deep.py", "file with a space.yaml", "data", ".gitignore", ".hidden/file"}
    assert arrived(directory, tmp_path / "there") == kept
    assert (tmp_path / "there" / "package" / "deep.py").read_text() == "changed"


def test_a_subdirectory_of_a_repository_is_a_working_directory_of_its_own(directory, tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=directory, check=True)
    assert arrived(directory / "package", tmp_path / "there") == {"deep.py"}


def test_what_else_the_node_has_there_is_linked(directory, tmp_path):
    (there := tmp_path / "node").mkdir()
    (there / "mine.py").write_text("older")
    (there / "large").mkdir()
    unpack(packed(directory), tmp_path / "new", there)
    assert (tmp_path / "new" / "mine.py").read_text() == "mine.py"
    assert (tmp_path / "new" / "large").readlink() == there / "large"


def test_a_directory_with_too_much_is_refused(directory, monkeypatch):
    monkeypatch.setattr(code, "MOST", 20)
    with pytest.raises(TooLarge):
        packed(directory)
