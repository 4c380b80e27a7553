"""Work that is done once per experiment is done once, whatever is killed, and runs see what it made."""

import re

from tests.scenarios.conftest import HEADER

GRID = """\
gridsearch:
  user_knobs: {{size: !list [{sizes}]}}
  train: {{epochs: 1, batch_size: 64, optimizer: {{name: SGD, args: {{lr: 0.1}}}}}}
"""


def write(cli, sizes, spec="Worded"):
    return cli.write(HEADER.replace("specs:Tiny", f"prepared:{spec}") + GRID.format(sizes=sizes))


def words(cli):
    """What each run has seen, by its number."""
    logs = (cli.path / "rapidfire_experiments/tiny/runs").glob("*/log.txt")
    return {log.parent.name.split("-")[0]: {*re.findall("words (.*)", log.read_text())} for log in logs}


def test_a_file_made_before_training_is_made_once_though_a_worker_is_killed_meanwhile(cli):
    write(cli, "1, 2")
    cli.run("fit", "experiment.yaml", "--workers", "2")
    home = cli.path / "rapidfire_experiments/tiny"
    made = (home / "prepared/words").read_bytes().hex()

    assert words(cli) == {"1": {made}, "2": {made}}
    assert (cli.path / "calls").read_text() == "sizes 1 2\n" * 2

    write(cli, "1, 2, 3")
    refused = cli.run("fit", "experiment.yaml", exits=2).stderr
    assert "error[E606]: `prepare` made different files than earlier runs were trained with" in refused
    assert "found: changed: words" in refused
    cli.run("fit", "experiment.yaml", "--accept-changes")
    now = (home / "prepared/words").read_bytes().hex()

    assert words(cli) == {"1": {made}, "2": {made}, "3": {now}} and now != made
    assert not [path for path in home.iterdir() if path.name.startswith(".")]


def test_check_counts_what_is_read_while_preparing(cli):
    write(cli, "1, 2")
    failed = cli.run("check", "--smoke", "experiment.yaml", exits=2).stderr
    assert "error[E415]: `prepare` failed" in failed and "found: its worker killed by SIGKILL" in failed

    assert cli.run("check", "--smoke", "experiment.yaml").stderr == ""
    assert (cli.path / "calls").read_text() == "sizes 1 2\n" * 2


def test_a_file_that_the_first_run_makes_is_made_once(cli):
    write(cli, "1, 2, 3, 4", "Unprepared")
    cli.run("fit", "experiment.yaml", "--workers", "2")

    assert len(set().union(*words(cli).values())) == 1 and len(words(cli)) == 4
