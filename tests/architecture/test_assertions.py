"""Assertions of the tests that could hardly fail."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def is_negation(test: ast.expr) -> bool:
    match test:
        case ast.UnaryOp(ast.Not()) | ast.Compare(ops=[ast.NotEq() | ast.NotIn()]):
            return True
    return False


def vacuous(tree: ast.AST) -> Iterator[int]:
    """Lines of assertions that take several exit codes, or one equality in the place of another.

    `not a or b` says that `b` follows from `a`; that is fine.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Assert(ast.Compare(left, [ast.In()], [ast.Tuple() | ast.List() | ast.Set()])):
                if "returncode" in ast.unparse(left) or "wait()" in ast.unparse(left):
                    yield node.lineno
            case ast.Assert(ast.BoolOp(ast.Or(), [ast.Compare(ops=[ast.Eq()]), *others])):
                if not any(map(is_negation, others)) and "isnan" not in ast.unparse(node):
                    yield node.lineno
            case ast.Assert(ast.Constant() | ast.Tuple()):
                yield node.lineno


def test_no_assertion_leaves_the_outcome_open():
    found = {
        f"{path.relative_to(TESTS)}:{line}"
        for path in TESTS.rglob("*.py")
        for line in vacuous(ast.parse(path.read_text("utf-8")))
    }
    assert not found


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("assert done.returncode in (130, 0)", [1]),
        ("assert a == b or c == d", [1]),
        ("assert (a, 'why')", [1]),
        ("assert not a or b == c", []),
        ("assert a in (1, 2)", []),
    ],
)
def test_one_that_does_is_found(code, lines):
    assert list(vacuous(ast.parse(code))) == lines
