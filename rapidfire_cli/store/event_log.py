"""The journal's events as they were recorded, for `history --events`."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path

from rapidfire_cli.store.connection import reader, slowly
from rapidfire_cli.terms import Plain

EVENTS = "SELECT seq, at, kind, body FROM events ORDER BY seq"


def events(journal: Path, runs: Collection[int] | None = None) -> Iterator[dict[str, Plain]]:
    """The events in order, as `fit --output jsonl` prints them, with their numbers and times.

    Times are in seconds since 1970. With `runs`, only events about one of these runs. Raises Refusal where
    nothing can be read.
    """
    with reader(journal) as db:
        for seq, at, kind, body in slowly(db, EVENTS):
            event: dict[str, Plain] = json.loads(body)
            if runs is None or _run(event) in runs:
                yield {"event": kind, "seq": seq, "time": at, **event}


def _run(event: dict[str, Plain]) -> Plain:
    """The number of the run that the event is about, if it is about one."""
    run = event.get("run")
    return run["number"] if isinstance(run, dict) else run
