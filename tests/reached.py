"""Assertions that the tests passed by: `python -m tests.reached`, after tests that measured themselves.

A guard that is always false, or a loop over nothing, lets a test succeed that checks nothing. So each
assertion must be reached at least once: those of every function that ran, and those of every helper in a
module of which something ran. A test that did not run at all is not reported: it was skipped, deselected or
marked `no_cover`. `pragma: no cover` at the head of a function says that it runs in other processes.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from coverage import Coverage

TESTS = Path(__file__).parent
PRAGMA = "pragma: no cover"


def unreached(source: str, ran: set[int]) -> Iterator[int]:
    """Lines of assertions that should have been reached, where the lines `ran` were."""
    lines = source.splitlines()
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    if not any(_runs(function, ran) for function in functions):
        return
    for function in functions:
        skipped = function.name.startswith("test") and not _runs(function, ran)
        if skipped or PRAGMA in lines[function.lineno - 1]:
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Assert) and not _within(node, node, ran):
                yield node.lineno


def _runs(function: ast.FunctionDef, ran: set[int]) -> bool:
    return _within(function.body[0], function.body[-1], ran)


def _within(first: ast.stmt, last: ast.stmt, ran: set[int]) -> bool:
    return not ran.isdisjoint(range(first.lineno, (last.end_lineno or last.lineno) + 1))


def main() -> int:
    """Print every such assertion; return 1 if there are any."""
    coverage = Coverage()
    coverage.load()
    data = coverage.get_data()
    found = [
        f"{Path(name).relative_to(TESTS.parent)}:{line}: the tests never reach this assertion"
        for name in sorted(data.measured_files())
        if TESTS in Path(name).parents
        for line in sorted({*unreached(Path(name).read_text("utf-8"), {*(data.lines(name) or ())})})
    ]
    if not any(TESTS in Path(name).parents for name in data.measured_files()):
        found = ["the coverage of the tests was not measured: pytest --cov=rapidfire_cli --cov=tests"]
    print(*found, sep="\n", end="\n" if found else "")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
