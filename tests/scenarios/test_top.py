"""The terminal app in a real terminal, beside a real fit that it steers and that is killed under it."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.verbs import top
from tests.scenarios.conftest import Cli
from tests.scenarios.test_steering import PATIENCE, states, wait_until

SWEEP = """\
experiment: tiny
mlspec: tests.scenarios.specs:Tiny
gridsearch:
  user_knobs: {pause: 0.05}
  train:
    epochs: 60
    batch_size: 32
    optimizer: {name: Adam, args: {lr: !list [0.01, 0.001, 0.0001]}}
  named_metrics: [top1_accuracy]
execution: {workers: 1}
"""
SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[PX^_].*?\x1b\\|\][^\x07]*\x07|[@-_])", re.DOTALL)


class Seat:
    """A person at a terminal of 80 by 24 cells that runs `rapidfire top`."""

    def __init__(self, cli: Cli) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {**cli.environment, "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            cli.command("top"), cwd=cli.path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self.written = ""

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def wait_for(self, text: str) -> None:
        """Read on until the text was written."""
        deadline = time.monotonic() + PATIENCE
        fresh = ""
        while text not in SEQUENCE.sub("", fresh):
            assert time.monotonic() < deadline, SEQUENCE.sub("", self.written)[-4000:]
            if select.select([self._ours], [], [], 0.5)[0]:
                fresh += os.read(self._ours, 1 << 16).decode(errors="replace")
        self.written += fresh

    def leave(self) -> int:
        """Quit; the exit code."""
        self.press("q")
        while True:
            try:
                self.written += os.read(self._ours, 1 << 16).decode(errors="replace")
            except OSError:  # the other end is closed
                return self.process.wait()


def test_a_fit_is_watched_steered_and_killed_and_the_terminal_is_as_before(cli):
    cli.write(SWEEP)
    fit = cli.start("fit", "experiment.yaml")
    while not (cli.path / "rapidfire_experiments/tiny/journal.db").exists():
        time.sleep(0.05)
    wait_until(cli, 1, "running")
    seat = Seat(cli)
    seat.wait_for("● running")
    seat.press("s")
    seat.wait_for("$ rapidfire stop 1 -e rapidfire_experiments/tiny")
    seat.wait_for("□ stopped")
    seat.press("c")
    seat.wait_for("clone run 1")
    seat.press("5\r")
    seat.wait_for("cloned as run 4")
    assert states(cli)[1] == "stopped" and len(states(cli)) == 4
    os.kill(fit.pid, signal.SIGKILL)
    fit.communicate()
    seat.wait_for("■ interrupted")
    assert seat.leave() == 0
    assert "\x1b[?1049l" in seat.written, "the terminal shows what it did before"
    assert "Traceback" not in seat.written


def test_only_top_loads_the_library_that_it_needs():
    """The other verbs, and finding out about the extra, must not pay for it."""
    modules = "rapidfire_cli.app.verbs.top", "rapidfire_cli.app.verbs.status", "rapidfire_cli.cli"
    code = f"import sys, {', '.join(modules)}; print('textual' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_without_the_extra_one_line_names_it(monkeypatch):
    monkeypatch.setattr(top, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"^[^\n]*pip install 'rapidfire-cli\[top\]'$"):
        top.top(None, None, read_only=False)


def test_without_a_terminal_it_says_what_to_use(cli):
    done = cli.run("top", exits=5)
    assert done.stderr == "error: `rapidfire top` needs a terminal; `rapidfire status --watch` does not\n"
