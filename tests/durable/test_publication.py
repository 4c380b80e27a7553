"""Publications appear whole, go at once, and touch nothing but their own."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rapidfire_cli.durable import disk, failpoints, publication
from rapidfire_cli.durable.publication import DIGITS, Damaged, aside, machine, publish, sweep, verify, write
from rapidfire_cli.engine.checkpoints import FORMER
from tests.training.sandbox import TrainingSandbox, leaf

DEAD = int(
    subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    ).stdout
)


def written(text: str) -> publication.Writer:
    def to(path: Path) -> None:
        with disk.create(path) as file:
            file.write(text.encode())

    return to


@pytest.fixture
def published(tmp_path) -> Path:
    target = tmp_path / "run" / "step-1"
    publish(target, {"a": written("first"), "b": written("second")}, {"step": 1})
    return target


def test_what_is_published_is_proved_with_its_facts(published):
    assert verify(published).facts == {"step": 1}
    assert {file.name for file in published.iterdir()} == {"a", "b", "MANIFEST.json"}


def test_whoever_may_read_the_manifest_may_read_the_files(tmp_path):
    def private(path: Path) -> None:
        written("first")(path)
        path.chmod(0o600)

    target, filled = tmp_path / "step-1", tmp_path / "export"
    publish(target, {"a": private}, {})
    with publication.draft(filled) as draft:
        private(draft / "a")
        publication.issue(draft, filled, publication.measured(draft), {})

    for file in (target / "a", filled / "a"):
        assert file.stat().st_mode == file.with_name(publication.MANIFEST).stat().st_mode


def test_a_publication_of_the_same_name_is_replaced_whole(published):
    publish(published, {"c": written("third")}, {"step": 2})
    assert verify(published).facts == {"step": 2}
    assert {file.name for file in published.iterdir()} == {"c", "MANIFEST.json"}


def test_a_writer_that_fails_leaves_what_was_there_and_nothing_else(published):
    def failing(path: Path) -> None:
        written("half")(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        publish(published, {"a": written("new"), "b": failing}, {"step": 2})
    assert verify(published).facts == {"step": 1}
    assert [path.name for path in published.parent.iterdir()] == ["step-1"]


def test_what_goes_is_renamed_first_and_then_gone(published):
    publication.remove(published)
    assert list(published.parent.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "a").unlink(),
        lambda path: (path / "a").write_text("First"),
        lambda path: (path / "MANIFEST.json").unlink(),
        lambda path: (path / "MANIFEST.json").write_text("{}"),
        lambda path: (path / "MANIFEST.json").write_text("[" * 100_000),
        lambda path: (path / "MANIFEST.json").write_bytes(b"\xff\xfe"),
        lambda path: (path / "MANIFEST.json").write_text((path / "MANIFEST.json").read_text() + "\n"),
        lambda path: (path / "MANIFEST.json").write_text(
            (path / "MANIFEST.json").read_text().replace('"step":1', '"step":2')
        ),
    ],
)
def test_a_publication_that_its_manifest_does_not_prove_is_damaged(published, damage):
    damage(published)
    with pytest.raises(Damaged, match="step-1"):
        verify(published)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: (path / "a").write_text("First"), "a has a wrong checksum"),
        (lambda path: (path / "a").unlink(), "a is missing"),
        (lambda path: (path / "MANIFEST.json").unlink(), "MANIFEST.json is missing"),
        (lambda path: (path / "MANIFEST.json").write_text('{"facts" 1}'), "MANIFEST.json is damaged"),
        (lambda path: (path / "MANIFEST.json").write_text("3"), "MANIFEST.json is damaged"),
    ],
)
def test_damage_names_the_file_in_words_of_ours(published, damage, said):
    damage(published)
    with pytest.raises(Damaged, match=f"^step-1: {said}$"):
        verify(published)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "..", "", "sub/../a", "linked/outside"])
def test_a_manifest_cannot_name_files_elsewhere(published, name):
    (published.parent / "outside").write_text("first")
    (published / "sub").mkdir()
    (published / "linked").symlink_to(published.parent)
    said = json.loads((published / "MANIFEST.json").read_text())
    forged = publication._proof(said["facts"], {name: said["files"]["a"]})
    (published / "MANIFEST.json").write_bytes(forged)
    with pytest.raises(Damaged):
        verify(published)


def test_a_payload_file_that_is_a_link_is_damage(published):
    (published / "a").rename(published.parent / "elsewhere")
    (published / "a").symlink_to(published.parent / "elsewhere")
    with pytest.raises(Damaged):
        verify(published)


def test_what_dead_processes_left_is_swept_and_nothing_else(tmp_path):
    ours, theirs = os.getpid(), os.getppid()
    gone = [f".tmp-{DEAD}-step-1", f".trash-{DEAD}-step-2", f".tmp-{DEAD}-manifest.jsonl"]
    kept = [
        f".tmp-{ours}-step-1",
        f".tmp-{theirs}-step-1",
        ".tmp-x-step-1",
        f".tmp-{DEAD}",
        "step-1",
        "notes",
    ]
    for name in [*gone[:2], *kept]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / gone[2]).touch()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_what_processes_of_other_machines_left_is_swept_only_by_who_writes_there_alone(tmp_path):
    own, other = (f"{machine:0{DIGITS}d}" for machine in (int(machine()), int(machine()) ^ 1))
    left = [f".tmp-{where}{DEAD}-step-1" for where in (own, other)]
    for name in [*left, f".tmp-{own}{os.getpid()}-step-2"]:
        (tmp_path / name).mkdir()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {left[1], f".tmp-{own}{os.getpid()}-step-2"}
    sweep(tmp_path, alone=True)
    assert {path.name for path in tmp_path.iterdir()} == {aside(tmp_path / "step-2").name}


def test_a_link_under_a_dead_process_name_is_swept_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / f".tmp-{DEAD}-step-1").symlink_to(tmp_path / "precious")
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_small_file_is_replaced_whole_and_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "manifest").symlink_to(tmp_path / "precious")
    write(tmp_path / "manifest", "theirs")
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "manifest").read_text() == "theirs" and not (tmp_path / "manifest").is_symlink()


def test_an_experiment_may_live_behind_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "linked").symlink_to("disk")
    made = disk.make_directory(tmp_path / "linked" / "experiment" / "runs")
    disk.sync(tmp_path / "linked", *made)
    assert (tmp_path / "disk" / "experiment" / "runs").is_dir()

    place = TrainingSandbox(tmp_path / "linked" / "experiment" / "runs", checkpoint_every=1)
    place.train(leaf(), until=3)
    assert place.weights()


@pytest.mark.parametrize("linked", ["1", "1/log.txt"])
def test_no_run_is_led_out_of_the_experiment_by_a_link(tmp_path, linked):
    outside, inside = tmp_path / "outside", tmp_path / "experiment" / "runs"
    outside.mkdir()
    (inside / linked).parent.mkdir(parents=True)
    (inside / linked).symlink_to(outside / "log" if linked.endswith("txt") else outside)
    place = TrainingSandbox(inside, checkpoint_every=1)
    place.train(leaf(), until=3)
    assert place.failure().kind == "disk" and linked.rpartition("/")[2] in place.failure().cause
    assert list(outside.iterdir()) == []


def test_checkpoints_behind_a_link_are_nobodys(tmp_path):
    TrainingSandbox(tmp_path / "outside").train(leaf(), until=3)
    outside = [*(tmp_path / "outside" / "1").glob("step-*")]
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / FORMER).symlink_to(tmp_path / "outside" / "1")
    place = TrainingSandbox(tmp_path)
    place.train(leaf(), until=3)
    assert len(place.epochs()) == 3
    assert outside == [*(tmp_path / "outside" / "1").glob("step-*")]


def test_names_that_are_no_checkpoints_are_never_touched(tmp_path):
    place = TrainingSandbox(tmp_path, checkpoint_every=1)
    unknown = tmp_path / "1"
    names = ["step-1", "step-0000000001-epoch-000001.bak", "notes", ".tmp-mine"]
    for name in names:
        (unknown / name).mkdir(parents=True)
    place.train(leaf(), until=3)
    assert place.weights()
    assert all((unknown / name).is_dir() for name in names)


def test_a_draft_is_published_with_its_subdirectories_or_leaves_nothing(tmp_path):
    target = tmp_path / "tree"
    with publication.draft(target) as draft:
        (draft / "sub" / "empty").mkdir(parents=True)
        (draft / "sub" / "file").write_text("first")
        files = publication.measured(draft)
        publication.issue(draft, target, files, {"fact": 1})
    with pytest.raises(ValueError), publication.draft(tmp_path / "other") as draft:
        (draft / "file").touch()
        raise ValueError

    assert [path.name for path in tmp_path.iterdir()] == ["tree"]
    assert publication.verify(target).files.keys() == {"sub/file"}
    assert publication.claimed(target).facts == {"fact": 1}
    (target / "sub" / "file").write_text("other")
    with pytest.raises(Damaged, match="tree: sub/file has a wrong checksum"):
        publication.verify(target)


def test_a_draft_with_a_symbolic_link_cannot_be_published(tmp_path):
    with publication.draft(tmp_path / "tree") as draft:
        (draft / "link").symlink_to("/etc")
        with pytest.raises(OSError, match="link"):
            publication.measured(draft)


def test_a_process_that_has_ended_and_was_not_waited_for_is_dead(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as process:
        process.stdout.read()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        left = tmp_path / f".tmp-{process.pid}-out.csv"
        left.touch()
        sweep(tmp_path)
        assert not left.exists()


def test_a_file_is_replaced_when_it_is_complete_and_what_a_dead_process_left_of_it_goes(tmp_path):
    path, left = tmp_path / "out.csv", tmp_path / f".tmp-{DEAD}-out.csv"
    others = [tmp_path / f".tmp-{DEAD}-other", tmp_path / f".tmp-{os.getppid()}-out.csv"]
    for each in (left, *others):
        each.touch()
    with publication.replacing(path) as file:
        file.write(b"whole")
        assert not path.exists() and not left.exists()
    with pytest.raises(ValueError, match="broken"), publication.replacing(path) as file:
        file.write(b"part")
        raise ValueError("broken")
    assert path.read_text() == "whole"
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])


@pytest.fixture
def tree(tmp_path) -> Path:
    """A run's directory: a checkpoint, and a log that grows."""
    source = tmp_path / "source"
    (source / "step-1").mkdir(parents=True)
    (source / "step-1" / "model").write_text("weights")
    (source / "log.txt").write_text("line")
    return source


def test_a_copied_tree_shares_the_bytes_of_what_never_changes_and_not_those_of_what_grows(tree, tmp_path):
    copy = tmp_path / "copy"
    publication.copy_tree(tree, copy, own="log.txt")
    assert (copy / "step-1" / "model").samefile(tree / "step-1" / "model")
    assert (copy / "log.txt").read_text() == "line"
    assert not (copy / "log.txt").samefile(tree / "log.txt")


def test_a_tree_is_copied_to_another_file_system(tree, tmp_path, monkeypatch):
    def hook(operation: str, *paths: Path) -> None:
        if operation == "link":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(paths[0]))

    monkeypatch.setattr(failpoints, "hook", hook)
    publication.copy_tree(tree, tmp_path / "copy", own="log.txt")
    assert (tmp_path / "copy" / "step-1" / "model").read_text() == "weights"
    assert not (tmp_path / "copy" / "step-1" / "model").samefile(tree / "step-1" / "model")


def test_a_tree_with_a_symbolic_link_is_not_copied(tree, tmp_path):
    (tree / "step-2").symlink_to(tree / "step-1")
    with pytest.raises(OSError, match="symbolic link"):
        publication.copy_tree(tree, tmp_path / "copy", own="log.txt")
