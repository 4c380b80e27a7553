"""One journal made of several: those of the parts of an experiment that were trained apart."""

from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rapidfire_cli.durable.failpoints import failpoint
from rapidfire_cli.store.connection import kept, writer
from rapidfire_cli.store.metadata import Metadata, to_rows

LAST_BRACKET = "SELECT ifnull(max(number), 0) FROM brackets"
_RUN = """number, id, "group", config, seed, replicate, origin, warm_start, epochs, listed, state, former,
    epoch, step, durable, cause, code, data, environment"""
_TURN, _METRIC = "run, slot, until, at, started, ended", "run, epoch, split, name, step, value"
_REQUEST = "id, at, body, answers"
COPY = (
    "INSERT INTO brackets SELECT number + :others, rule FROM part.brackets",
    f"""INSERT INTO runs ({_RUN}, bracket) SELECT {_RUN}, bracket + :others FROM part.runs
      WHERE number IN taken""",
    f"INSERT INTO turns ({_TURN}) SELECT {_TURN} FROM part.turns WHERE run IN taken ORDER BY rowid",
    f"INSERT INTO metrics ({_METRIC}) SELECT {_METRIC} FROM part.metrics WHERE run IN taken",
    f"INSERT INTO so_far ({_METRIC}) SELECT {_METRIC} FROM part.so_far WHERE run IN taken",
    f"INSERT OR IGNORE INTO requests ({_REQUEST}) SELECT {_REQUEST} FROM part.requests ORDER BY rowid",
    """INSERT INTO events (at, kind, body) SELECT at, kind,
        iif(json_type(body, '$.bracket') = 'integer',
          json_set(body, '$.bracket', json_extract(body, '$.bracket') + :others), body)
      FROM part.events ORDER BY seq""",
)


@dataclass(frozen=True, slots=True)
class Part:
    """A journal, and the numbers of the runs that are taken from it."""

    journal: Path
    runs: Collection[int]


def merge(target: Path, metadata: Metadata, parts: Sequence[Part]) -> None:
    """Make the journal `target`. Brackets get new numbers, so that each compares the same runs as before.

    The caller must hold the locks of all parts. Raises Refusal if one is not a journal, and OSError.
    """
    for part in parts:
        writer(part.journal).close()  # it becomes one of this version
    with closing(writer(target)) as db, kept(target):
        db.execute("CREATE TEMP TABLE taken (run INTEGER PRIMARY KEY)")
        for part in parts:
            db.execute("ATTACH ? AS part", [str(part.journal)])
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM taken")
            db.executemany("INSERT INTO taken VALUES (?)", ([run] for run in part.runs))
            others = db.execute(LAST_BRACKET).fetchone()[0]
            for statement in COPY:
                db.execute(statement, {"others": others})
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", to_rows(metadata))
            failpoint("commit", target)
            db.execute("COMMIT")
            db.execute("DETACH part")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
