"""Parameters are taken as they are, and what cannot be is refused as Typer refuses it."""

import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from rapidfire_cli.app.parameters import Verb, Verbs

CONFIGS = Path(__file__).parents[2] / "configs"
EXPAND = """
import sys
from rapidfire_cli.__main__ import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


tool = typer.Typer(cls=Verbs, add_completion=False, rich_markup_mode=None)


@tool.callback()
def whole(loud: bool = False) -> None:
    """A command line with verbs."""


@tool.command(cls=Verb)
def told(
    file: Annotated[Path, typer.Argument()],
    name: str | None = None,
    sets: Annotated[list[str] | None, typer.Option("--set")] = None,
    colour: Colour = Colour.RED,
    count: Annotated[int, typer.Option(min=1)] = 3,
    most: int | None = None,
    parent: Annotated[str | None, typer.Option(envvar="PARENT")] = None,
) -> None:
    """Print what came."""
    print([file, name, sets or [], colour, count, most, parent])


def run(*words: str, **environment: str) -> tuple[int, str]:
    done = CliRunner().invoke(tool, ["told", *words], env=environment)
    return done.exit_code, done.output.strip()


def test_what_is_not_given_is_the_default():
    assert run("f.yaml") == (0, repr([Path("f.yaml"), None, [], Colour.RED, 3, None, None]))


def test_what_is_given_has_its_type():
    words = ["--set", "a=1", "--set", "b=2", "--name", "n", "--colour", "blue", "--count", "4", "--most", "5"]
    given = [Path("f.yaml"), "n", ["a=1", "b=2"], Colour.BLUE, 4, 5, "home"]
    assert run("f.yaml", *words, PARENT="home") == (0, repr(given))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Missing argument"),
        (["f", "--colour", "green"], "'green' is not one of 'red', 'blue'"),
        (["f", "--count", "0"], "--count"),
        (["f", "--most", "many"], "--most"),
        (["f", "g"], "unexpected extra argument"),
    ],
)
def test_what_has_the_wrong_type_is_refused(words, said):
    status, output = run(*words)
    assert status == 2 and said in output


def test_an_expansion_imports_neither_pydantic_nor_torch_nor_what_only_other_files_need():
    command = [sys.executable, "-c", EXPAND, "expand", str(CONFIGS / "digits_mixed.yaml"), "-o", "jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "rapidfire_cli.manifest.expand" in loaded
    assert not loaded & {"pydantic", "torch", "rich", "sqlite3", "rapidfire_cli.schedule.scheduler"}
    assert "rapidfire_cli.syntax.conditions.parser" not in loaded
