"""The disk fails under the whole tool: one line, exit code 5, and the same command goes on when it can."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rapidfire_cli.app import failing, files, fitting, subjects
from rapidfire_cli.durable.faults import VARIABLE
from rapidfire_cli.engine import signals
from tests.scenarios.conftest import HEADER, Desk

FILE = (
    HEADER
    + """\
gridsearch:
  train:
    epochs: 2
    batch_size: !list [32, 64]
    optimizer: {name: Adam, args: {lr: 0.01}}
  named_metrics: [top1_accuracy]
execution: {checkpoint_every: 0, workers: 1}
"""
)
EVERY_DAY = [  # what strikes one experiment, one after the other
    ("sync .tmp-*-experiment.yaml", "kill"),
    ("commit journal.db", "ENOSPC"),
    ("write state.pt", "ENOSPC"),
    ("sync MANIFEST.json", "EIO"),
    ("link .tmp-*-final.safetensors", "EACCES"),
    ("rename .tmp-*-final.safetensors", "kill"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Desk:
    """Two runs, trained without a fault; every point they pass stands in `trace`."""
    desk = Desk(tmp_path_factory.mktemp("trained"))
    desk.write(FILE)
    desk.extra[VARIABLE] = f"trace {desk.path / 'trace'}"
    desk.run("fit", "experiment.yaml")
    desk.extra.clear()
    return desk


def struck(desk: Desk, point: str, what: str, occurrence: int = 1) -> subprocess.CompletedProcess[str]:
    """`fit`, with a fault armed; it must have struck."""
    armed = desk.path / "armed"
    armed.touch()
    desk.extra[VARIABLE] = f"{point} {occurrence} {what} {armed}"
    done = subprocess.run(
        desk.command("fit", "experiment.yaml"),
        cwd=desk.path,
        env=desk.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    desk.extra.clear()
    assert not armed.exists(), f"`{point}` was not passed"
    return done


def same(desk: Desk, trained: Desk) -> bool:
    """Whether the same command again ends with the bits and the figures of an undisturbed experiment."""
    desk.run("fit", "experiment.yaml")
    return desk.weights() == trained.weights() and desk.metrics() == trained.metrics()


def test_one_fault_after_the_other_costs_nothing(trained, desk):
    desk.write(FILE)
    for point, what in EVERY_DAY:
        done = struck(desk, point, what)
        if what == "kill":
            assert done.returncode in (-9, 0), done.stderr  # a worker that is killed is replaced
        else:
            told = [line for line in done.stderr.splitlines() if line.startswith(("error:", "hint:"))]
            assert done.returncode == 5, done.stderr
            assert told[0].startswith("error: ") and "/" in told[0], "the place is told"
            assert "Traceback" not in done.stderr
    assert same(desk, trained)


@pytest.mark.campaign
@pytest.mark.parametrize("what", ["kill", "ENOSPC", "EIO", "EACCES"])
def test_every_point_that_is_passed_goes_wrong_once(trained, tmp_path, what):
    for at, point in enumerate(points(trained)):
        desk = Desk(tmp_path / f"{at}")
        desk.path.mkdir()
        desk.write(FILE)
        done = struck(desk, point, what)
        assert done.returncode in ((-9, 0) if what == "kill" else (5, 0)), f"{point}: {done.stderr}"
        assert same(desk, trained), f"RAPIDFIRE_FAULT='{point} 1 {what} armed'"
        shutil.rmtree(desk.path)


def points(trained: Desk) -> list[str]:
    """What the experiment passed, each once, by their names without numbers."""
    return sorted({line.strip() for line in (trained.path / "trace").read_text().splitlines()})


def test_the_points_are_those_of_the_whole_experiment(trained):
    names = {point.partition(" ")[2] for point in points(trained)}
    assert {"lock", "journal.db", "state.pt", "MANIFEST.json", "log.txt", ".tmp-*-manifest.jsonl"} <= names


@pytest.mark.parametrize(
    "limit",
    [
        size if size == 24_000 else pytest.param(size, marks=pytest.mark.campaign)
        for size in range(4_000, 120_000, 4_000)
    ],
)
def test_a_real_limit_on_the_size_of_files_is_a_full_disk(trained, desk, limit):
    desk.write(FILE)
    done = subprocess.run(
        desk.command("fit", "experiment.yaml"),
        cwd=desk.path,
        env=desk.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode in (0, 5) and "Traceback" not in done.stderr, done.stderr
    assert same(desk, trained)


def test_a_file_system_without_locks_is_one_line_and_nothing_is_created(desk):
    desk.write(FILE)
    done = struck(desk, "lock lock", "ENOLCK")
    assert done.returncode == 5
    assert done.stderr == (
        "error: rapidfire_experiments/tiny/lock: the file system keeps no locks (No locks available); "
        "choose another with --dir\n"
    )
    assert sorted(path.name for path in desk.path.iterdir()) == ["experiment.yaml"]


def test_a_directory_that_may_only_be_read_is_one_line_and_nothing_is_created(desk, monkeypatch, capfd):
    """As another user where the tests run as root, for whom no directory is read-only."""
    desk.write(FILE)
    for place in (desk.path, *desk.path.parents[:2]):
        place.chmod(0o755)
    monkeypatch.chdir(desk.path)
    subject = subjects.subject_of(files.Given(Path("experiment.yaml")), None)
    failing.explain(KeyboardInterrupt())  # imports what the other user may not
    desk.path.chmod(0o555)
    if (child := os.fork()) == 0:
        code = 0
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            with signals.stop_signal() as stop:
                fitting.train(subject, fitting.Request(), stop, lambda board: pytest.fail("it trains"))
        except OSError as error:
            code = failing.explain(error)
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    desk.path.chmod(0o755)
    assert capfd.readouterr().err == "error: rapidfire_experiments: Permission denied\n"
    assert [path.name for path in desk.path.iterdir()] == ["experiment.yaml"]


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(trained, desk):
    desk.write(FILE)
    struck(desk, "link .tmp-*-final.safetensors", "EIO")
    (last, *_) = sorted((desk.path / "rapidfire_experiments/tiny/runs").glob("*/checkpoints/*2/state.pt"))
    last.write_bytes(bytes(last.stat().st_size))
    said = desk.run("fit", "experiment.yaml", "-o", "jsonl")
    assert f"{last.parent.name}/state.pt is not what was written" in said.stdout
    assert '"event": "checkpoint_damaged"' in said.stdout
    assert same(desk, trained)
