"""What the journal stores about the experiment as a whole, so that views need no experiment file."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from rapidfire_cli.facts import RunsPacked
from rapidfire_cli.store.source import Source
from rapidfire_cli.terms import Keep, Objective


@dataclass(frozen=True, slots=True)
class Metadata:
    """An experiment, apart from its runs."""

    experiment: str
    objective: Objective
    varied: tuple[str, ...] = ()  # dotted paths of the knobs that vary from run to run
    chunks: int = 1  # turns per epoch, so ticks per epoch
    source: Source | None = None  # the file that the directory belongs to; None if unknown
    keep: Keep = "resume"  # of completed runs
    packing: RunsPacked | None = None  # of the last fit; None where each GPU or worker trains one run


def to_rows(metadata: Metadata) -> Iterable[tuple[str, str]]:
    """The `meta` table's rows."""
    values = {**asdict(metadata), "varied": list(metadata.varied)}
    return [(key, json.dumps(value)) for key, value in values.items()]


def read_metadata(db: sqlite3.Connection) -> Metadata:
    """Read the experiment's metadata from the journal."""
    values = {key: json.loads(text) for key, text in db.execute("SELECT key, value FROM meta")}
    source, packing = values.get("source"), values.get("packing")
    return Metadata(
        experiment=values["experiment"],
        objective=Objective(**values["objective"]),
        varied=tuple(values["varied"]),
        chunks=values["chunks"],
        source=Source(**source) if source else None,
        keep=values.get("keep", "resume"),
        packing=RunsPacked(**packing) if packing else None,
    )
