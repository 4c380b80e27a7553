"""A `match` on a closed union ends in `assert_never`: a new member is a type error where it is missing.

A union is closed when every member is a class of ours, and so is an enumeration. A `match` is on such a
union when each of its patterns names a member.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "rapidfire_cli"
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if "catalogue" not in path.parts]


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text("utf-8")) for path in MODULES}


@pytest.fixture(scope="module")
def closed(trees) -> list[set[str]]:
    """The members of each closed union, and the name of each enumeration with a dot."""
    ours = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    enumerations = [
        node.name for node in ours if any(ast.unparse(base).endswith("Enum") for base in node.bases)
    ]
    return [*unions(trees, {node.name for node in ours}), *({f"{name}."} for name in enumerations)]


def members(annotation: ast.expr, aliases: dict[str, ast.expr]) -> Iterator[str]:
    """The names that a union is made of, those of the unions in it included."""
    match annotation:
        case ast.BinOp(left, ast.BitOr(), right):
            yield from members(left, aliases)
            yield from members(right, aliases)
        case ast.Constant(str(text)):
            yield from members(ast.parse(text, mode="eval").body, aliases)
        case ast.Name(name) if name in aliases:
            yield from members(aliases[name], aliases)
        case _:
            yield ast.unparse(annotation).rpartition(".")[2]


def unions(trees: dict[Path, ast.Module], ours: set[str]) -> list[set[str]]:
    aliases = {
        node.target.id: node.value
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.value
        and node.target.id not in ours
        and ast.unparse(node.annotation).endswith("TypeAlias")
    }
    found = [set(members(value, aliases)) for value in aliases.values()]
    return [union for union in found if len(union) > 1 and union <= ours]


def named(pattern: ast.pattern) -> Iterator[str]:
    """What a case matches: the name of a class, `Enum.` for a value of one, or `*` for anything else."""
    match pattern:
        case ast.MatchOr(patterns):
            for each in patterns:
                yield from named(each)
        case ast.MatchAs(None):
            return
        case ast.MatchAs(inner):
            yield from named(inner)
        case ast.MatchClass(cls):
            yield ast.unparse(cls).rpartition(".")[2]
        case ast.MatchValue(ast.Attribute(ast.Name(owner))):
            yield f"{owner}."
        case _:
            yield "*"


def is_on_a_closed_union(match: ast.Match, closed: list[set[str]]) -> bool:
    names = {name for case in match.cases for name in named(case.pattern)}
    return bool(names) and any(names <= union for union in closed)


def asserts_never(statement: ast.stmt | None) -> bool:
    return isinstance(statement, ast.Expr) and ast.unparse(statement).startswith("assert_never(")


def unfinished(tree: ast.AST, closed: list[set[str]]) -> Iterator[int]:
    """The lines of the matches on closed unions after which a member may be left over."""
    for node in ast.walk(tree):
        for body in (getattr(node, part, None) for part in ("body", "orelse", "finalbody")):
            if not isinstance(body, list):
                continue
            for statement, after in zip(body, [*body, None][1:], strict=True):
                if isinstance(statement, ast.Match) and is_on_a_closed_union(statement, closed):
                    last = statement.cases[-1]
                    ends = isinstance(last.pattern, ast.MatchAs) and asserts_never(last.body[0])
                    if not ends and not asserts_never(after):
                        yield statement.lineno


def test_a_match_on_a_closed_union_ends_in_assert_never(trees, closed):
    found = {
        f"{path.relative_to(PACKAGE)}:{line}"
        for path, tree in trees.items()
        for line in unfinished(tree, closed)
    }
    assert not found


def test_the_unions_of_the_scheduler_are_among_the_closed_ones(closed):
    for some in ({"Train", "EndTurn"}, {"RunStopAsked", "MemoryRanOut"}, {"GridSearch", "Hyperband"}):
        assert any(some <= union for union in closed)
    assert {"RunState."} in closed


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("match x:\n    case A(): pass\n    case B(): pass", [1]),
        ("match x:\n    case A(): pass\n    case _: pass", [1]),
        ("match x:\n    case a.A() | B(): pass\n    case _: assert_never(x)", []),
        ("match x:\n    case A(): pass\nassert_never(x)", []),
        ("match x:\n    case A(): pass\n    case int(): pass", []),
        ("match x:\n    case E.ONE: pass", [1]),
    ],
)
def test_a_match_that_leaves_a_member_out_is_found(code, found):
    assert list(unfinished(ast.parse(code), [{"A", "B"}, {"E."}])) == found
