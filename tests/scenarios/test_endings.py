"""However it ends: no traceback, a quiet or a single line, and an exit code that scripts can read."""

import resource
import signal
import sqlite3
import subprocess

import pytest

from rapidfire_cli.app.errors import explain
from tests.scenarios.conftest import GRID, HEADER, ROOT

SMALL = GRID.replace("epochs: 3", "epochs: 2").replace("[16, 32]", "[16]").replace("0.01, 0.001", "0.01")
ENDLESS = f"""\
gridsearch:
  user_knobs: {{{", ".join(f"k{index}: !list [0, 1]" for index in range(40))}}}
  train: {{epochs: 1, batch_size: 1, optimizer: {{name: Adam}}}}
"""


def test_a_fit_whose_stderr_is_closed_trains_all_the_same(cli):
    cli.write(HEADER + SMALL)
    closed = ["bash", "-c", 'exec "$@" 2>&-', "-", *cli.command("fit", "experiment.yaml")]
    done = subprocess.run(
        closed, cwd=cli.path, env=cli.environment, stdout=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith("rank") and len(cli.weights()) == 1


def test_a_fit_whose_progress_nobody_reads_any_more_trains_on(cli):
    cli.write(HEADER + SMALL)
    fit = cli.start("fit", "experiment.yaml")
    assert fit.stdout and fit.stderr
    fit.stderr.readline()
    fit.stderr.close()
    assert fit.stdout.read().startswith("rank")
    assert fit.wait() == 0


def test_a_disk_without_room_is_one_line_and_the_same_command_goes_on_later(cli):
    cli.write(HEADER + SMALL)
    full = subprocess.run(
        cli.command("fit", "experiment.yaml"),
        cwd=cli.path,
        env=cli.environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
    )
    assert (full.returncode, full.stdout) == (5, "")
    assert full.stderr.startswith("error: ") and full.stderr.count("\n") == 1
    cli.run("fit", "experiment.yaml")


def test_an_interruption_is_quiet(cli):
    cli.write(ENDLESS)
    expand = cli.start("expand", "experiment.yaml", "-o", "jsonl")
    assert expand.stdout and expand.stderr
    expand.stdout.readline()
    expand.send_signal(signal.SIGINT)
    assert expand.communicate()[1] == ""
    assert expand.returncode == 130


def test_an_interruption_is_quiet_even_before_anything_is_loaded(cli):
    (cli.path / "early").mkdir()
    (cli.path / "early" / "typer.py").write_text("raise KeyboardInterrupt\n")
    cli.extra["PYTHONPATH"] = f"{cli.path / 'early'}:{ROOT}"
    done = cli.run("expand", "experiment.yaml", exits=130, anew=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("address", "statement", "code", "says"),
    [
        ("file:{}?mode=ro", "CREATE TABLE t (x)", 5, "error: cannot write the journal: attempt to write"),
        ("file:{}?mode=rwc", "SELECT nothing", 70, "error: internal error: sqlite3.Operational"),
    ],
)
def test_a_disk_that_fails_is_told_from_a_statement_that_is_wrong(
    tmp_path, capsys, address, statement, code, says
):
    path = tmp_path / "journal.db"
    sqlite3.connect(path).close()
    with pytest.raises(sqlite3.OperationalError) as failure:
        sqlite3.connect(address.format(path), uri=True).execute(statement)
    assert explain(failure.value) == code
    said = capsys.readouterr().err
    assert said.startswith(says) and said.count("\n") == 1
