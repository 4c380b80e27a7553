"""What runs by itself, in CI and before a commit, calls what the Makefile has; a version is said once."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from rapidfire_cli import __version__

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


def test_ci_checks_and_tests_with_targets_of_the_makefile():
    steps = [step for job in read(".github/workflows/ci.yml")["jobs"].values() for step in job["steps"]]
    called = re.findall(r"\bmake (\S+)", "\n".join(step.get("run", "") for step in steps))
    assert {"check", "test"} <= set(called)
    assert [target for target in called if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)] == []


def test_ci_tries_every_python_that_the_package_names():
    named = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert read(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"] == named


def test_the_hooks_of_a_commit_are_the_commands_of_make_check():
    recipe = MAKEFILE.partition("\ncheck:")[2].partition("\ngolden:")[0]
    commands = [line.split(" ") for line in re.findall(r"\$\(BIN\)/(.*)", recipe)]
    (local,) = read(".pre-commit-config.yaml")["repos"]
    hooks = [hook["entry"].removeprefix(".venv/bin/").split(" ") for hook in local["hooks"]]
    assert hooks == [[word for word in command if word not in ("--check", ".")] for command in commands]


def test_the_version_stands_in_one_place_and_the_changelog_has_it_below_what_is_unreleased():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "rapidfire_cli/__init__.py"
    sections = re.findall(r"^## (.*)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert sections[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(__version__)} - \d{{4}}-\d\d-\d\d", sections[1])
