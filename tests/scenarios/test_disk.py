"""The disk fails under the whole tool: one line, exit code 5, and the same command goes on when it can."""

import json
import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rapidfire_cli.app import errors, experiments, files
from rapidfire_cli.app.verbs import fit
from rapidfire_cli.engine import signals
from tests.scenarios.conftest import Cli
from tests.scenarios.struck import FILE, Whole, continues, strike, undisturbed

EVERY_DAY = [  # what strikes one experiment, one after the other, and how `fit` ends
    ("sync .tmp-*-experiment.yaml", "kill", -9),
    ("commit journal.db", "ENOSPC", 5),
    ("write state.pt", "ENOSPC", 5),
    ("sync MANIFEST.json", "EIO", 5),
    ("link .tmp-*-final.safetensors", "EACCES", 5),
    ("rename .tmp-*-final.safetensors", "kill", 0),  # a worker, which is replaced
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Whole:
    return undisturbed(Cli(tmp_path_factory.mktemp("whole")))


def test_one_fault_after_the_other_costs_nothing(whole, cli):
    cli.write(FILE)
    for point, what, exits in EVERY_DAY:
        done = strike(cli, point, what)
        assert done.returncode == exits, done.stderr
        if what != "kill":
            told = [line for line in done.stderr.splitlines() if line.startswith(("error:", "hint:"))]
            assert told[0].startswith("error: ") and "/" in told[0], "the place is told"
            assert "Traceback" not in done.stderr
    assert continues(cli, whole)


def test_the_points_are_those_of_the_whole_experiment(whole):
    names = {point.partition(" ")[2] for point in whole.points}
    assert {"lock", "journal.db", "state.pt", "MANIFEST.json", "log.txt", ".tmp-*-manifest.jsonl"} <= names


@pytest.mark.parametrize(
    "limit",
    [
        size if size == 24_000 else pytest.param(size, marks=pytest.mark.campaign)
        for size in range(4_000, 120_000, 4_000)
    ],
)
def test_a_real_limit_on_the_size_of_files_is_a_full_disk(whole, cli, limit):
    cli.write(FILE)
    done = subprocess.run(
        cli.command("fit", "experiment.yaml"),
        cwd=cli.path,
        env=cli.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode in (0, 5) and "Traceback" not in done.stderr, done.stderr
    assert continues(cli, whole)


def test_a_file_system_without_locks_is_one_line_and_nothing_is_created(cli):
    cli.write(FILE)
    done = strike(cli, "lock lock", "ENOLCK")
    assert done.returncode == 5
    assert done.stderr == (
        "error: rapidfire_experiments/tiny/lock: this file system does not support locks "
        "(No locks available); use --dir to choose another one\n"
    )
    assert sorted(path.name for path in cli.path.iterdir()) == ["experiment.yaml"]


def test_a_fit_on_a_file_system_that_may_be_shared_shares_no_memory_with_those_that_look(cli):
    """On a ramfs, which is not known to be local; it is seen only in a mount namespace of the test."""
    apart = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec")
    if subprocess.run([*apart, "mount -t ramfs none /mnt"], capture_output=True, check=False).returncode:
        pytest.skip("this machine mounts nothing in a namespace")
    cli.write(FILE)
    (cli.path / "rapidfire_experiments").mkdir()
    tool = shlex.join(cli.command())
    script = f"""
        mount -t ramfs none rapidfire_experiments
        {tool} fit experiment.yaml >/dev/null &
        until test -s rapidfire_experiments/tiny/journal.db; do sleep 0.05; done
        {tool} status >&2
        wait $!
        {tool} status --output json
        {tool} history --events | head -n 1 >&2
        ls rapidfire_experiments/tiny >&2"""
    done = subprocess.run(
        [*apart, script], cwd=cli.path, env=cli.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {run["state"] for run in json.loads(done.stdout)["runs"]} == {"completed"}
    assert "journal.db-journal" in done.stderr and "journal.db-wal" not in done.stderr


def test_a_directory_that_may_only_be_read_is_one_line_and_nothing_is_created(cli, monkeypatch, capfd):
    """As another user where the tests run as root, for whom no directory is read-only."""
    cli.write(FILE)
    for place in (cli.path, *cli.path.parents[:2]):
        place.chmod(0o755)
    monkeypatch.chdir(cli.path)
    loaded = experiments.load_experiment(files.Given(Path("experiment.yaml")), None)
    errors.explain(KeyboardInterrupt())  # imports what the other user may not
    cli.path.chmod(0o555)
    if (child := os.fork()) == 0:
        code = 0
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            with signals.stop_signal() as stop:
                fit.train(loaded, fit.Request(), stop, lambda board: pytest.fail("it trains"))
        except OSError as error:
            code = errors.explain(error)
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    cli.path.chmod(0o755)
    assert capfd.readouterr().err == "error: rapidfire_experiments: Permission denied\n"
    assert [path.name for path in cli.path.iterdir()] == ["experiment.yaml"]


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(whole, cli):
    cli.write(FILE)
    strike(cli, "link .tmp-*-final.safetensors", "EIO")
    (last, *_) = sorted((cli.path / "rapidfire_experiments/tiny/runs").glob("*/*2/state.pt"))
    last.write_bytes(bytes(last.stat().st_size))
    said = cli.run("fit", "experiment.yaml", "-o", "jsonl")
    assert f"{last.parent.name}: state.pt has a wrong checksum" in said.stdout
    assert '"event": "checkpoint_damaged"' in said.stdout
    assert continues(cli, whole)
