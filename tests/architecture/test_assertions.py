"""Assertions of the tests that could hardly fail."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reached import unreached

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


def missing(tree: ast.AST) -> Iterator[int]:
    """Lines that ask whether `self` has an attribute that this module never sets: the answer is always no."""
    stored, named = set(), set()
    asked: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Name("hasattr"), [ast.Name("self"), ast.Constant(str(name))]):
                asked.append((name, node.lineno))
            case ast.Attribute(ast.Name("self"), name, ast.Store()):
                stored.add(name)
            case ast.Call(ast.Attribute(), [ast.Constant(str(name)), *_]):  # as in register_buffer("name", …)
                named.add(name)
    yield from (line for name, line in asked if name not in stored | named)


@pytest.mark.parametrize("kind", [vacuous, missing])
def test_no_assertion_leaves_the_outcome_open_or_is_guarded_by_what_never_holds(kind):
    found = {
        f"{path.relative_to(TESTS)}:{line}"
        for path in TESTS.rglob("*.py")
        for line in kind(ast.parse(path.read_text("utf-8")))
    }
    assert not found


GUARDED = """
class Machine:
    def begin(self):
        self.cluster = []
    def at_rest(self):
        if hasattr(self, "world"):
            check(self.cluster)
def check(cluster):
    assert not cluster
"""


def test_a_guard_by_an_attribute_that_was_renamed_is_found():
    assert list(missing(ast.parse(GUARDED))) == [6]
    assert not list(missing(ast.parse(GUARDED.replace("world", "cluster"))))


@pytest.mark.parametrize(
    ("source", "ran", "lines"),
    [
        (GUARDED, {4, 6}, [9]),
        (GUARDED, {4, 6, 7, 9}, []),
        (GUARDED, set(), []),
        ("def test_a():\n    for x in ():\n        assert x\n    assert True", {2, 4}, [3]),
        ("def test_a():\n    assert 1\ndef test_skipped():\n    assert 2", {2}, []),
        ("def elsewhere():  # pragma: no cover\n    assert 1\ndef test_a():\n    assert 2", {4}, []),
    ],
)
def test_an_assertion_that_tests_pass_by_is_found(source, ran, lines):
    assert list(unreached(source, ran)) == lines


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
