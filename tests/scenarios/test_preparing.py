"""Work that is done once per experiment is done once, whatever is killed, and runs see what it made."""

import re

from tests.scenarios.conftest import HEADER

GRID = """\
gridsearch:
  user_knobs: {{size: !list [{sizes}]}}
  train: {{epochs: 1, batch_size: 64, optimizer: {{name: SGD, args: {{lr: 0.1}}}}}}
"""


def write(desk, sizes, spec="Worded"):
    return desk.write(HEADER.replace("specs:Tiny", f"prepared:{spec}") + GRID.format(sizes=sizes))


def words(desk):
    """What each run has seen, by its number."""
    logs = (desk.path / "rapidfire_experiments/tiny/runs").glob("*/log.txt")
    return {log.parent.name.split("-")[0]: {*re.findall("words (.*)", log.read_text())} for log in logs}


def test_a_file_made_before_training_is_made_once_though_a_worker_is_killed_meanwhile(desk):
    write(desk, "1, 2")
    desk.run("fit", "experiment.yaml", "--workers", "2")
    home = desk.path / "rapidfire_experiments/tiny"
    made = (home / "prepared/words").read_bytes().hex()

    assert words(desk) == {"1": {made}, "2": {made}}
    assert (desk.path / "calls").read_text() == "sizes 1 2\n" * 2

    write(desk, "1, 2, 3")
    refused = desk.run("fit", "experiment.yaml", exits=2).stderr
    assert "error[E606]: `prepare` makes other files than the runs so far were trained with" in refused
    assert "found: changed: words" in refused
    desk.run("fit", "experiment.yaml", "--accept-changes")
    now = (home / "prepared/words").read_bytes().hex()

    assert words(desk) == {"1": {made}, "2": {made}, "3": {now}} and now != made
    assert not [path for path in home.iterdir() if path.name.startswith(".")]


def test_check_counts_what_is_read_while_preparing(desk):
    write(desk, "1, 2")
    failed = desk.run("check", "--smoke", "experiment.yaml", exits=2).stderr
    assert "error[E415]: `prepare` fails" in failed and "found: its worker killed by SIGKILL" in failed

    assert desk.run("check", "--smoke", "experiment.yaml").stderr == ""
    assert (desk.path / "calls").read_text() == "sizes 1 2\n" * 2


def test_a_file_that_the_first_run_makes_is_made_once(desk):
    write(desk, "1, 2, 3, 4", "Unprepared")
    desk.run("fit", "experiment.yaml", "--workers", "2")

    assert len(set().union(*words(desk).values())) == 1 and len(words(desk)) == 4
