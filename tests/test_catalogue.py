"""Every code is explained, and its example is what the tool does: the exact stderr and the exit code."""

import shlex
import shutil
from pathlib import Path

import pytest

from rapidfire_cli.app.verbs.explain import CATALOGUE, COMMAND, STDERR
from rapidfire_cli.problems import TITLES
from tests.goldens import agree
from tests.scenarios.conftest import Cli

CASES = Path(str(CATALOGUE))
SHOWN_ELSEWHERE = {"E433", "E520", "E521", "E606"}
"""Codes that no succession of commands alone reaches, or whose text depends on the machine: test_estimating,
test_automl, test_experiment and test_continuing hold their text."""


@pytest.fixture
def rapidfire(tmp_path, monkeypatch):
    """Runs one command line in a directory of its own; its exit code, and what it said on stderr."""
    for name in ("GITHUB_ACTIONS", "RAPIDFIRE_DIR"):
        monkeypatch.delenv(name, raising=False)

    def run(line: str) -> tuple[int, str]:
        process = Cli(tmp_path).start(*shlex.split(line))
        _, said = process.communicate()
        return process.wait(), said

    return run


def test_every_code_has_a_golden_case_and_an_explanation():
    assert {case.name for case in CASES.iterdir()} == set(TITLES)
    for code in TITLES:
        explanation = (CASES / code / "explanation.md").read_text("utf-8")
        assert len(explanation.split()) >= 10, f"{code} is not explained"
        assert (CASES / code / STDERR).is_file()
        assert (CASES / code / COMMAND).is_file() != (code in SHOWN_ELSEWHERE)


@pytest.mark.parametrize("code", [code for code in TITLES if code not in SHOWN_ELSEWHERE])
def test_a_code_has_a_golden_case(code, rapidfire, tmp_path):
    shutil.copytree(CASES / code, tmp_path, dirs_exist_ok=True)
    *before, last = (CASES / code / COMMAND).read_text("utf-8").splitlines()
    for line in before:
        assert rapidfire(line)[0] == 0
    status, said = rapidfire(last)
    agree(CASES / code / STDERR, said)
    assert f"[{code}]" in said
    assert status == (0 if code.startswith("W") else 2)
