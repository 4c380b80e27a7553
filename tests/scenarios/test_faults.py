"""Whatever user code, the controller or a worker does, nothing outlives it and nobody else is harmed."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.scenarios.conftest import GRID, HEADER, Cli, place_of

SINGLE = """\
config:
  user_knobs: {{does: {does}}}
  train: {{epochs: 1, batch_size: 64, optimizer: {{name: SGD, args: {{lr: 0.1}}}}}}
"""
PATIENT = "execution: {hang_timeout: 0.5}\n"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Runs that do their worst, beside a good one: each with its log, and the events of all."""
    cli = Cli(tmp_path_factory.mktemp("sweep"))
    does = "raise, exit hard, segfault, hang once, devour, devour once, flood, litter, nothing"
    cli.write(HEADER + PATIENT + SINGLE.format(does=f"!list [{does}]").replace("config:", "gridsearch:"))
    done = cli.run("fit", "experiment.yaml", "-o", "jsonl", exits=1)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    runs = {run["config"]["user_knobs"]["does"]: run for run in cli.status()["runs"]}
    for run in runs.values():
        directory = cli.path / "rapidfire_experiments/tiny/runs" / f"{run['number']}-{run['id']}"
        run["logs"] = {path.name: path.read_text() for path in directory.glob("log.txt*")}
        run["failures"] = [
            one for one in events if one["event"] == "run_failed" and one["run"] == run["number"]
        ]
        run["deaths"] = [
            one for one in events if one["event"] == "worker_died" and one["run"] == run["number"]
        ]
    return runs


def test_the_others_never_notice(sweep):
    assert {does for does, run in sweep.items() if run["state"] == "completed"} == {
        *("hang once", "devour once", "flood", "litter", "nothing")
    }


def test_what_raises_is_kept_with_its_class_its_traceback_and_its_step(sweep):
    [failure] = sweep["raise"]["failures"]
    assert (failure["kind"], failure["step"]) == ("error", 0)
    assert failure["cause"].startswith("ValueError: the data are (")
    assert failure["cause"].endswith(f"{place_of('raise ValueError(')}, in misbehave)")
    assert "misbehave" in failure["traceback"] and "to my liking" in failure["traceback"]


@pytest.mark.parametrize(
    ("does", "cause"),
    [("exit hard", "worker ended with exit code 5"), ("segfault", "worker killed by SIGSEGV")],
)
def test_a_run_that_ends_its_worker_is_retried_three_times_and_fails_with_the_cause(sweep, does, cause):
    [failure] = sweep[does]["failures"]
    assert len(sweep[does]["deaths"]) == 4
    assert (failure["kind"], failure["cause"], failure["step"]) == ("died", cause, 0)
    assert sweep[does]["error"] == cause


def test_a_segfault_leaves_its_stack_in_the_log(sweep):
    log = sweep["segfault"]["logs"]["log.txt"]
    assert "Segmentation fault" in log and "in misbehave" in log


def test_a_hang_is_found_by_lack_of_progress_and_leaves_its_stack_in_the_log(sweep):
    [death] = sweep["hang once"]["deaths"]
    assert death["cause"] == "hung: no step in 0.5 seconds"
    assert death["step"] == 1
    assert "in deaf_sleep" in sweep["hang once"]["logs"]["log.txt"]


def test_a_run_that_finds_no_memory_is_tried_once_more_by_a_new_worker_then_fails(sweep):
    [failure] = sweep["devour"]["failures"]
    assert (failure["kind"], failure["step"]) == ("oom", 0)
    assert "can't allocate memory" in failure["cause"]
    assert len(sweep["devour"]["deaths"]) == 2
    assert sweep["devour"]["error"] == failure["cause"]
    [replaced] = sweep["devour once"]["deaths"]
    assert replaced["cause"].startswith("replaced: RuntimeError")


def test_what_user_code_leaves_lying_about_is_cleared_away(sweep):
    assert sweep["litter"]["logs"]["log.txt"].splitlines()[-1] == "cleared away"


def test_a_log_is_capped_and_what_was_last_printed_is_kept(sweep):
    logs = sweep["flood"]["logs"]
    assert logs.keys() == {"log.txt", "log.txt.1"}
    assert all(len(log) <= 2**24 for log in logs.values())
    assert "the last words" in logs["log.txt.1"] + logs["log.txt"]


def test_a_loss_that_is_no_number_is_kept_as_it_is_where_that_is_wanted(cli):
    cli.write(HEADER + SINGLE.format(does="nan").replace("epochs: 1", "epochs: 1, on_nan: continue"))
    cli.run("fit", "experiment.yaml")
    [run] = cli.status()["runs"]
    assert (run["state"], run["metrics"]["train"]["loss"]) == ("completed", "NaN")


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def group_of(pid: int) -> list[int]:
    """The processes of the group that a worker leads."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == pid and fields[0] != "Z":
            members.append(int(stat.parent.name))
    return members


def started(process: subprocess.Popen[str]) -> int:
    """The first worker's process id."""
    assert process.stdout
    return next(json.loads(line)["pid"] for line in process.stdout if '"worker_started"' in line)


def await_file(path: Path) -> None:
    while not path.exists():  # the test's time limit is the bound
        time.sleep(0.01)


def await_end(group: int) -> None:
    while group_of(group):  # the test's time limit is the bound
        time.sleep(0.01)


def test_a_killed_controller_takes_its_workers_and_all_that_user_code_started_with_it(cli):
    cli.write(HEADER + SINGLE.format(does="child").replace("epochs: 1", "epochs: 1000"))
    process = cli.start("fit", "experiment.yaml", "-o", "jsonl")
    worker = started(process)
    await_file(cli.path / "trained")
    child = int((cli.path / "child").read_text())
    assert child in group_of(worker)
    process.kill()
    process.communicate()
    await_end(worker)
    assert is_gone(child)
    cli.write(HEADER + SINGLE.format(does="child"))
    cli.run("fit", "experiment.yaml")


def test_a_worker_that_dies_is_noticed_though_its_child_holds_on_to_everything(cli):
    cli.write(HEADER + SINGLE.format(does="fork and kill once"))
    done = cli.run("fit", "experiment.yaml")
    assert "worker 0  died: killed by SIGKILL" in done.stderr


def test_a_killed_worker_harms_nobody_else(cli):
    cli.write(HEADER + GRID)
    cli.run("fit", "experiment.yaml")
    undisturbed, metrics = cli.weights(), cli.metrics()
    process = cli.start("fit", "experiment.yaml", "--fresh", "-o", "jsonl")
    os.kill(started(process), signal.SIGKILL)
    process.communicate()
    assert process.returncode == 0
    assert (cli.weights(), cli.metrics()) == (undisturbed, metrics)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_turns_at_the_next_step_and_keeps_what_they_reached(cli, number):
    cli.write(HEADER + GRID.replace("pause: 0", "pause: 0.02").replace("epochs: 3", "epochs: 500"))
    process = cli.start("fit", "experiment.yaml", "-o", "jsonl")
    worker = started(process)
    assert process.stdout
    next(line for line in process.stdout if '"epoch_ended"' in line)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == 128 + number
    assert group_of(worker) == []
    reached = {run["number"]: run["step"] for run in cli.status()["runs"] if run["step"]}
    saved = (cli.path / "rapidfire_experiments/tiny/runs").glob("*/step-*/MANIFEST.json")
    durable = {}
    for manifest in sorted(saved):
        facts = json.loads(manifest.read_text())["facts"]
        durable[facts["run"]] = facts["step"]
    assert durable == reached


def test_a_second_ctrl_c_ends_everything_at_once_and_the_same_command_continues(cli):
    cli.write(HEADER + SINGLE.format(does="hang"))
    process = cli.start("fit", "experiment.yaml", "-o", "jsonl")
    worker = started(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)  # two signals at once would be one
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert group_of(worker) == []
    cli.write(HEADER + SINGLE.format(does="nothing"))
    cli.run("fit", "experiment.yaml")


def test_what_is_told_to_ignore_a_hangup_trains_on(cli):
    cli.write(HEADER + GRID)
    process = subprocess.Popen(
        ["nohup", *cli.command("fit", "experiment.yaml", "-o", "jsonl")],
        cwd=cli.path,
        env=cli.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    started(process)
    process.send_signal(signal.SIGHUP)
    process.communicate()
    assert process.returncode == 0
