"""The tutorial works as it is written: its files, its commands in their order, and what they print."""

import re
import shlex
import signal
import subprocess
import sys
from typing import NamedTuple

import pytest

from tests.scenarios.conftest import ROOT, Cli

PAGE = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
ANYTHING = "…"
INTERRUPT = "^C\n"


class File(NamedTuple):
    """A block with a title: a file that the reader writes."""

    name: str
    text: str


class Typed(NamedTuple):
    """A console block: a command and what the page says that it prints."""

    line: str
    output: str


def steps() -> list[File | Typed]:
    """The page's files and commands, in its order."""
    found: list[File | Typed] = []
    for language, title, block in re.findall(
        r'^```(\w+)(?: title="([^"\n]*)")?\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE
    ):
        if title:
            found.append(File(title, block))
        elif language == "console":
            line, _, output = block.partition("\n")
            found.append(Typed(line.removeprefix("$ "), output))
    return found


def pattern(output: str) -> str:
    """The output as a regular expression: numbers may differ, and `…` stands for anything."""
    parts = [
        r"\s+".join(re.sub(r"\d+(\\\.\d+)?", r"[\\d.]+", re.escape(word)) for word in part.split())
        for part in output.split(ANYTHING)
    ]
    return r"\s*" + r".*?".join(rf"\s*{part}\s*" for part in parts) + r"\s*"


def ran(cli: Cli, line: str) -> subprocess.CompletedProcess[str]:
    """Run the line with the interpreter or the tool of these tests; a shell only where the line needs one."""
    first, *words = shlex.split(line)
    if first == "rapidfire" and not {*words} & {">", "|", "&&", ";"}:
        process = cli.start(*words)
        printed, said = process.communicate()
        return subprocess.CompletedProcess(line, process.wait(), printed, said)
    program = {"python": sys.executable, "rapidfire": shlex.join(cli.command())}[first]
    return subprocess.run(
        line.replace(first, program, 1),
        shell=True,
        cwd=cli.path,
        env=cli.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def interrupted(cli: Cli, line: str) -> None:
    """Run the command and press Ctrl-C once it trains."""
    fit = cli.start(*shlex.split(line)[1:])
    assert fit.stderr
    assert any(re.match(r"run \d+  epoch ", told) for told in fit.stderr)
    fit.send_signal(signal.SIGINT)
    fit.communicate()
    assert fit.returncode == 128 + signal.SIGINT


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path, {"HF_HOME": str(tmp_path / "huggingface")})


@pytest.mark.timeout(900)  # it waits for workers to start four times, which takes long on a busy machine
def test_its_files_and_commands_do_in_their_order_what_the_page_says(cli):
    for step in steps():
        match step:
            case File(name, text):
                (cli.path / name).write_text(text)
            case Typed(line, output) if output == INTERRUPT:
                interrupted(cli, line)
            case Typed(line, output):
                done = ran(cli, line)
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
                if output:
                    assert re.fullmatch(pattern(output), done.stdout, re.DOTALL), f"{line}\n{done.stdout}"
