"""The columns of the knobs that vary between runs."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from rapidfire_cli.manifest.knob_paths import ABSENT, cell, dotted, knobs
from rapidfire_cli.terms import Clone, LeafConfig
from rapidfire_cli.view.tables import Column, Row
from rapidfire_cli.view.wording import NOTHING, knob_text

if TYPE_CHECKING:
    from rapidfire_cli.store.queries import Overview, RunRow  # an expansion needs no database

NEVER_ALONE = frozenset({"name", "args"})  # meaningless without their parent key


def short_names(paths: Sequence[str]) -> list[str]:
    """Each path's shortest ending that none of the others shares: `lr`, `optimizer.name`."""
    endings = [_endings(path) for path in paths]
    sharing = Counter(end for own in endings for end in own)
    return [
        next((end for end in own if sharing[end] == 1), path)
        for path, own in zip(paths, endings, strict=True)
    ]


def varied(seen: "Overview") -> tuple[str, ...]:
    """The knobs that vary between the runs of the file, then those that only clones changed."""
    return tuple(dict.fromkeys((*seen.metadata.varied, *changed_by_clones(seen.rows))))


def changed_by_clones(rows: "Sequence[RunRow]") -> Iterator[str]:
    """The knobs in which clones differ from the runs that they were made of."""
    configs = {row.number: row for row in rows}
    clones = [(row, configs.get(row.origin.run)) for row in rows if isinstance(row.origin, Clone)]
    return chain.from_iterable(changed(row.config, parent.config) for row, parent in clones if parent)


def changed(config: LeafConfig, before: LeafConfig) -> Iterator[str]:
    """The knobs that have another value, or are new or gone."""
    paths = dict.fromkeys(dotted(path) for leaf in (config, before) for path, _ in knobs(dict(leaf)))
    return (path for path in paths if cell(config, path) != cell(before, path))


def knob_columns(
    paths: Sequence[str], rows: Iterable[Row], config: Callable[[Row], LeafConfig]
) -> list[Column[Row]]:
    """A column for each knob, under its short name; `config` is a row's leaf config."""
    kept = list(rows)
    return [_column(path, name, kept, config) for path, name in zip(paths, short_names(paths), strict=True)]


def knob_value(config: LeafConfig, path: str) -> str:
    """The value of a leaf config's knob, as people read it."""
    value = cell(config, path)
    return NOTHING if value is ABSENT else knob_text(value)


def numeric(texts: Iterable[str]) -> bool:
    """Whether these are numbers, which are aligned right."""
    return all(text == NOTHING or _is_number(text) for text in texts)


def _column(path: str, name: str, rows: Sequence[Row], config: Callable[[Row], LeafConfig]) -> Column[Row]:
    def text(row: Row) -> str:
        return knob_value(config(row), path)

    return Column(name, text, right=numeric(map(text, rows)), drop_order=1)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _endings(path: str) -> list[str]:
    parts = path.split(".")
    endings = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
    return [end for end in endings if end not in NEVER_ALONE and not end.partition(".")[0].isdecimal()]
