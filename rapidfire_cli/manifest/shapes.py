"""Runs of one shape: leaf configs that are equal once numbers are replaced by their types."""

from collections.abc import Iterable

from rapidfire_cli.terms import Plain, Run, canonical


def representatives(runs: Iterable[Run]) -> tuple[Run, ...]:
    """The first run of each shape, in order: what holds for the shape of one holds for all alike."""
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(canonical(shape(run.leaf)), run)
    return tuple(first.values())


def shape(value: Plain) -> Plain:
    """The value with the name of its type in place of every number."""
    match value:
        case dict():
            return {key: shape(item) for key, item in value.items()}
        case list():
            return [shape(item) for item in value]
        case int() | float() if not isinstance(value, bool):
            return type(value).__name__
        case _:
            return value
