"""What bash, zsh and fish type when Tab is pressed."""

import os
import pty
import re
import select
import shutil
import sys
import time
from pathlib import Path

import pytest

from rapidfire_cli.app.completion.scripts import SCRIPTS

START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
FILE = """
mlspec: a:B
config: {train: {epochs: 1, batch_size: 8, optimizer: {name: SGD, args: {lr: 0.1}}}}
"""
PROGRAM = f"""#!/bin/sh
[ "$1" = __complete ] && exec {sys.executable} -m rapidfire_cli "$@"
printf 'ran:'; printf ' <%s>' "$@"; echo ';'
"""
BEFORE = {"bash": "", "zsh": "autoload -Uz compinit; compinit -u -D\n", "fish": ""}


class Terminal:
    """A shell in a terminal, in which the program can be completed."""

    def __init__(self, shell: str, path: Path) -> None:
        program = path / "bin" / "rapidfire"
        program.parent.mkdir()
        program.write_text(PROGRAM)
        program.chmod(0o755)
        (path / "setup").write_text(BEFORE[shell] + SCRIPTS[shell])
        environment = {
            **os.environ,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "HOME": str(path),
            "TERM": "dumb",
            "PS1": "$ ",
            "LC_ALL": "C.UTF-8",
        }
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(path)
            os.execvpe(START[shell][0], START[shell], environment)
        self.type(". ./setup; echo rea''dy\n")
        self.read_until("ready")

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def read_until(self, text: str, seconds: float = 15) -> str:
        """What was printed up to this text. Raises AssertionError when it does not come."""
        seen, end = "", time.monotonic() + seconds
        while text not in seen:
            ready = select.select([self.terminal], [], [], max(0, end - time.monotonic()))[0]
            assert ready, f"{text!r} is not in {seen!r}"
            seen += re.sub(
                r"\x1b\[[\d;?]*[A-Za-z]", "", os.read(self.terminal, 65536).decode(errors="replace")
            )
        return seen

    def close(self) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


@pytest.fixture(params=["bash", "zsh", "fish"])
def terminal(request, tmp_path):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    home = tmp_path / "rapidfire_experiments" / "two words"
    (home / "runs").mkdir(parents=True)
    (tmp_path / "a.yaml").write_text(FILE)
    opened = Terminal(request.param, tmp_path)
    yield opened
    opened.close()


def test_a_shell_types_what_is_the_only_possibility(terminal):
    for typed, given in (
        ("sho\t", "<show>"),
        ("status --expe\t", "<status> <--experiment>"),
        ("status -o ya\t", "<status> <-o> <yaml>"),
        ("status -e tw\t", "<status> <-e> <two words>"),
        ("expand a.yaml --set train.e\t5", "<expand> <a.yaml> <--set> <train.epochs=5>"),
        ("expand a.yaml --set=train.e\t5", "<expand> <a.yaml> <--set=train.epochs=5>"),
        ("expand a.yaml --unset 1:train.e\t", "<expand> <a.yaml> <--unset> <1:train.epochs>"),
        (
            "expand a.yaml --filter 'train.epochs > 1 and train.b\t",
            "<expand> <a.yaml> <--filter> <train.epochs > 1 and train.batch_size>",
        ),
        ("expand a.y\t", "<expand> <a.yaml>"),
    ):
        terminal.type(f"rapidfire {typed}\n")
        assert f"ran: {given};" in terminal.read_until(";")
