"""What the house rules ask for and import-linter cannot hold."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "rapidfire_cli"
DECISIONS = PACKAGE.parent / "docs" / "DECISIONS.md"
CORE = (
    *("terms.py", "records.py", "problems.py", "requests.py", "control", "shapes.py"),
    *("stopping", "syntax", "manifest", "schedule"),
)
MOST_LINES = 400
WALL_CLOCKS = {"time", "time_ns", "now", "utcnow", "today", "localtime", "gmtime"}
RECORDS = {"store/journal.py"}


def modules(*places: str) -> list[Path]:
    found = [PACKAGE / place for place in places] or [PACKAGE]
    return sorted(file for place in found for file in ([place] if place.is_file() else place.rglob("*.py")))


def test_the_core_opens_no_file_and_prints_nothing():
    for module in modules(*CORE):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("open", "print", "input", "eval", "exec"), (
                    f"{module}:{node.lineno}"
                )


def test_the_core_draws_from_no_global_generator():
    for module in modules(*CORE):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "random"
            ):
                assert node.attr == "Random", f"{module}:{node.lineno}"
            if isinstance(node, ast.ImportFrom) and node.module == "random":
                assert [alias.name for alias in node.names] == ["Random"], f"{module}:{node.lineno}"


def test_a_file_is_no_longer_than_it_may_be_unless_a_decision_says_why():
    decided = DECISIONS.read_text("utf-8")
    for module in modules():
        name = module.relative_to(PACKAGE).as_posix()
        assert len(module.read_text("utf-8").splitlines()) <= MOST_LINES or f"`{name}`" in decided, name


def test_a_clock_that_jumps_moves_nothing():
    """Only records say when in the day something was; whatever waits or decides goes by monotonic time."""
    for module in modules():
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            jumps = isinstance(node, ast.Attribute) and node.attr in WALL_CLOCKS
            renamed = isinstance(node, ast.ImportFrom) and node.module == "time"
            told = module.relative_to(PACKAGE).as_posix() in RECORDS
            assert not jumps or told, f"{module}:{node.lineno}"
            assert not renamed or not {alias.name for alias in node.names} & WALL_CLOCKS, (
                f"{module}:{node.lineno}"
            )


def test_no_module_is_named_for_being_useful():
    for module in modules():
        assert not re.search(r"util|helper|common|misc|stuff", module.relative_to(PACKAGE).as_posix()), module


def test_a_file_has_few_lines_and_so_has_a_function():
    """Medians, so that one honest long table does not count against the house."""
    files = sorted(
        len(module.read_text("utf-8").splitlines()) for module in modules() if module.stat().st_size
    )
    functions = sorted(
        1 + (node.end_lineno or 0) - node.body[0].lineno
        for module in modules()
        for node in ast.walk(ast.parse(module.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert files[len(files) // 2] <= 150
    assert functions[len(functions) // 2] <= 8


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "import rapidfire_cli"],
        ["-m", "rapidfire_cli", "--help"],
        ["-m", "rapidfire_cli", "doctor"],
        ["-m", "rapidfire_cli", "expand", "configs/digits_mixed.yaml"],
        ["-m", "rapidfire_cli", "expand", "configs/digits_mixed.yaml", "--output", "jsonl"],
    ],
)
def test_nothing_heavy_is_loaded_to_look_at_a_file(arguments: list[str]):
    heavy = ("torch", "transformers", "datasets", "numpy", "textual")
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    loaded = set(re.findall(r"^import time:.*\|\s*([\w.]+)$", done.stderr, re.MULTILINE))
    assert "rapidfire_cli" in loaded
    assert not loaded & set(heavy)
