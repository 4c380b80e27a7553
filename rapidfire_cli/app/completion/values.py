"""The values that can be typed: runs, experiments, knobs and metrics, as the journal or the file has them."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rapidfire_cli.app.completion.place import Place, Word
from rapidfire_cli.store.layout import experiments, find, parent_directory

SAMPLE = 256  # runs whose knobs are looked at, at most (assumed: 5 ms)
STATES = "SELECT number, state, epoch, epochs FROM runs ORDER BY number"
CONFIGS = """
    SELECT config FROM runs WHERE number IN (SELECT min(number) FROM runs GROUP BY "group")
    UNION SELECT config FROM runs WHERE number % (1 + (SELECT count(*) FROM runs) / ?) = 0"""
METRICS = "SELECT DISTINCT name FROM metrics ORDER BY name"

_LAST_NAME = re.compile(r"[A-Za-z_][\w.]*$|$")
_OF_GROUP = re.compile(r"(\d+:|\+)*")


def words(place: Place) -> list[Word]:
    """What can be typed there, each as the whole value. Raises Refusal, OSError."""
    find_words = KINDS.get(place.kind or place.metavar)
    return [*find_words(place)] if find_words else []


def _runs(place: Place) -> Iterator[Word]:
    yield Word("best", "the best run")
    for number, state, epoch, epochs in _read(place, STATES):
        yield Word(str(number), f"{state}, epoch {epoch} of {epochs}")


def _experiments(place: Place) -> Iterator[Word]:
    for home in experiments(_parent(place.given)):
        yield Word(home.path.name, str(home.path))


def _metrics(place: Place) -> Iterator[Word]:
    for (name,) in _read(place, METRICS):
        yield Word(name)


def _requirements(place: Place) -> Iterator[Word]:
    for word in _metrics(place):
        yield Word(f"{word.text}>=")


def _knobs_in_condition(place: Place) -> Iterator[Word]:
    """The condition so far, with its last word completed."""
    found = _LAST_NAME.search(place.text)
    before = place.text[: found.start()] if found else place.text
    for knob in _knobs(place):
        yield Word(f"{before}{knob}")


def _knobs_to_set(place: Place) -> Iterator[Word]:
    if "=" not in place.text:
        yield from (Word(f"{word.text}=") for word in _knobs_of_group(place))


def _knobs_of_group(place: Place) -> Iterator[Word]:
    """The knobs, after the number of a group or a `+` that was typed."""
    found = _OF_GROUP.match(place.text)
    for knob in _knobs(place):
        yield Word(f"{found[0] if found else ''}{knob}")


def _knobs(place: Place) -> list[str]:
    """The dotted paths of the knobs of the file that was named, or else of the experiment's runs."""
    from rapidfire_cli.manifest.knob_paths import dotted, knobs

    for path in map(Path, place.arguments):
        if path.is_file():
            return _knobs_of_file(path)
    leaves = [json.loads(config) for (config,) in _read(place, CONFIGS, SAMPLE)]
    return [*dict.fromkeys(dotted(path) for leaf in leaves for path, _ in knobs(leaf))]


def _knobs_of_file(path: Path) -> list[str]:
    from rapidfire_cli.app.files import parsed
    from rapidfire_cli.manifest.varied import every

    return [*every(parsed(path))]


def _read(place: Place, sql: str, *values: int) -> list[tuple[str, ...]]:
    """The rows of the experiment that was named, or of the newest one."""
    from rapidfire_cli.store.connection import begun, reader

    home = find(_parent(place.given), place.given.get("--experiment"), _name_of)
    with reader(home.journal) as db:
        return db.execute(sql, values).fetchall() if begun(db) else []


def _name_of(path: Path) -> str:
    from rapidfire_cli.app.files import reload

    return reload(path).name


def _parent(given: Mapping[str, str]) -> Path:
    return parent_directory(given.get("--dir") or os.environ.get("RAPIDFIRE_DIR"))


KINDS: Mapping[str, Callable[[Place], Iterator[Word]]] = {
    "RUN": _runs,
    "--experiment": _experiments,
    "--where": _knobs_in_condition,
    "--filter": _knobs_in_condition,
    "--set": _knobs_to_set,
    "--unset": _knobs_of_group,
    "--metric": _metrics,
    "--worse-than": _metrics,
    "--require": _requirements,
}
"""Where the words come from, by an option's first name or an argument's metavar."""
