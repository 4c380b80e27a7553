"""`fit --debug-run` trains one run where a debugger works, and leaves the experiment alone."""

import os
import pty
import subprocess

from tests.scenarios.conftest import HEADER

GRID = """\
gridsearch:
  user_knobs: {name: !list [a, seven77]}
  train: {epochs: 1, batch_size: 64, optimizer: {name: SGD, args: {lr: 0.1}}}
"""


def write(cli, spec):
    cli.write(HEADER.replace("specs:Tiny", f"debugged:{spec}") + GRID)


def at_a_terminal(cli, typed, *arguments):
    """What a terminal shows of the command, and its exit code; a line is typed whenever the debugger asks."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        cli.command(*arguments),
        cwd=cli.path,
        env=cli.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown, rest = "", [*typed]
    try:
        while data := os.read(ours, 1 << 16):
            shown += data.decode()
            if shown.endswith("(Pdb) ") and rest:
                os.write(ours, f"{rest.pop(0)}\n".encode())
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    return shown, process.wait()


def test_a_breakpoint_stops_in_the_run_asked_for(cli):
    write(cli, "Breaking")
    command = ("fit", "experiment.yaml", "--debug-run", "2")
    shown, code = at_a_terminal(cli, ["p answer", "c"], *command)

    assert "debugged.py" in shown and "\n42\r\n" in shown.replace("p answer", "")
    assert "run 2  epoch 1/1  train loss" in shown
    assert code == 0
    assert {path.name for path in cli.path.iterdir()} == {"experiment.yaml", "stopped"}


def test_an_error_is_shown_with_its_traceback_and_others_are_refused(cli):
    write(cli, "Raising")
    failed = cli.run("fit", "experiment.yaml", "--debug-run", "1", exits=1, anew=True).stderr
    assert failed.endswith("KeyError: 'a'\n") and "in create_model" in failed

    assert "error[E515]" in cli.run("fit", "experiment.yaml", "--debug-run", "3", exits=2).stderr
    ignored = cli.run("fit", "experiment.yaml", "--debug-run", "1", "--stay", exits=2).stderr
    assert "--debug-run cannot be combined with" in ignored
