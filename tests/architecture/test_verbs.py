"""The verbs that completion knows are those of the command line."""

import json
from enum import EnumType
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

from rapidfire_cli import cli
from rapidfire_cli.app.completion import place
from tests.goldens import agree

VERBS = Path(place.__file__).with_name("verbs.json")
HELP = {"names": ["-h", "--help"], "help": "Show this message and exit.", "value": None}


def test_verbs_and_options_are_those_of_the_command_line_golden():
    program: Any = typer.main.get_command(cli.cli)
    known = {"": described(program), **{name: described(verb) for name, verb in program.commands.items()}}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(verb)}" for name, verb in known.items())
    agree(VERBS, f"{{\n{lines}\n}}\n")


def test_only_the_verb_that_is_called_is_built():
    every = [*_built()]
    assert [*_built("fit")] == ["fit"]
    assert [*_built("ft")] == [*_built("--help")] == every
    assert len(every) > 30


def _built(*words: str) -> list[str]:
    program: Any = typer.main.get_command(cli._of(words))
    return [*program.commands]


def described(verb: Any) -> dict[str, Any]:
    parameters = [each for each in verb.params if each.param_type_name == "argument"]
    options = [option(each) for each in verb.params if each.param_type_name == "option"]
    return {
        "help": verb.help.split("\n")[0].removesuffix("."),
        "arguments": [value(each) for each in parameters],
        "options": [*options, HELP],
    }


def option(parameter: Any) -> dict[str, Any]:
    flag = parameter.is_flag
    names = [*parameter.opts, *parameter.secondary_opts]
    return {"names": names, "help": parameter.help, "value": None if flag else value(parameter)}


def value(parameter: Any) -> str | list[str]:
    """The choices there are, or else the metavar."""
    kind = parameter.type_descriptor.annotation
    [kind] = get_args(kind) if get_origin(kind) is list else [kind]
    choices = [str(each) for each in kind] if isinstance(kind, EnumType) else get_args(kind)
    return (
        [*choices] if choices and all(isinstance(each, str) for each in choices) else parameter.metavar or ""
    )
