"""The requests in the journal, in the order in which they were decided about."""

import json
from dataclasses import dataclass
from pathlib import Path

from rapidfire_cli.facts import RequestTaken
from rapidfire_cli.requests import decode_answers, decode_request
from rapidfire_cli.store.connection import begun, reader


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request, and when it was decided about."""

    at: float  # seconds since the epoch
    taken: RequestTaken


def requests_count(journal: Path) -> int:
    """How many requests were taken. Raises Refusal where nothing can be read."""
    with reader(journal) as db:
        count: int = db.execute("SELECT count(*) FROM requests").fetchone()[0]
        return count


def requests_taken(journal: Path) -> tuple[Recorded, ...]:
    """Every request; empty without a journal."""
    if not journal.is_file():
        return ()
    with reader(journal) as db:
        if not begun(db):
            return ()
        rows = db.execute("SELECT at, body, answers FROM requests ORDER BY rowid").fetchall()
    return tuple(
        Recorded(at, RequestTaken(decode_request(body), decode_answers(json.loads(answers))))
        for at, body, answers in rows
    )
