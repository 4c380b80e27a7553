"""Facts as a stream of JSON objects, for programs that watch (`fit --output jsonl`)."""

from collections.abc import Sequence
from typing import TextIO

from rapidfire_cli.facts import Fact
from rapidfire_cli.store.facts import body, kind
from rapidfire_cli.view.formats import json_line


class JsonLines:
    """An audience of programs: writes JSON lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def tell(self, facts: Sequence[Fact]) -> None:
        """Write one object per fact: `{"event": "epoch_ended", "run": 3, …}`."""
        self._stream.writelines(f"{json_line({'event': kind(fact), **body(fact)})}\n" for fact in facts)
        self._stream.flush()
