"""Find the names that compute_forward may return, by reading its source without running it.

A metric that no run has should be reported before training; a metric may also be a number that
compute_forward returns beside the loss. Most methods end in `return {"loss": …, "kl": …}`. If the source does
not show the names, they are known after the first epoch.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.training.scalars import NO_SCALARS

METHOD = "compute_forward"

Returned: TypeAlias = tuple[str, ...] | None
"""Names of outputs; None if the source does not show them."""


class _Unknown(Exception):  # noqa: N818 - never leaves this module
    """The source does not show the names."""


def returned_names(spec: type[MLSpec]) -> Returned:
    """Return the output names beside the loss, which may be metrics; None if they cannot be read."""
    try:
        names = [*_names([cls for cls in spec.__mro__ if METHOD in vars(cls)])]
    except (_Unknown, OSError, TypeError, ValueError, SyntaxError):  # there may be no source
        return None
    return tuple(name for name in dict.fromkeys(names) if name not in NO_SCALARS)


def _names(owners: Sequence[type]) -> Iterator[str]:
    """Yield the names that the first class's method returns; the other classes resolve its `super()`."""
    if not owners or owners[0] is MLSpec:
        raise _Unknown
    method = vars(owners[0])[METHOD]
    source = inspect.getsource(inspect.unwrap(getattr(method, "__func__", method)))
    (function,) = ast.parse(textwrap.dedent(source)).body
    for value in _returns(function):
        yield from _keys(value, owners[1:])


def _returns(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions that a function returns, without those of nested functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return) and child.value:
            yield child.value
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _returns(child)


def _keys(value: ast.expr, above: Sequence[type]) -> Iterator[str]:
    match value:
        case ast.Dict(keys, values):
            for key, one in zip(keys, values, strict=True):
                if key is None:
                    yield from _keys(one, above)
                else:
                    yield _constant(key)
        case ast.IfExp(_, one, other):
            yield from _keys(one, above)
            yield from _keys(other, above)
        case ast.Call(ast.Attribute(ast.Call(ast.Name("super")), attr)) if attr == METHOD:
            yield from _names(above)
        case _:
            raise _Unknown


def _constant(key: ast.expr) -> str:
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        return key.value
    raise _Unknown
