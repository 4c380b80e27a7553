"""What is written through a drain waits for no reader, and arrives in order."""

import os
from contextlib import suppress
from threading import Event

import pytest

from rapidfire_cli.app.drain import LOST, Drain


class Reader:
    """Takes what is written only after it was let go."""

    def __init__(self) -> None:
        self.met, self.goes = Event(), Event()
        self.taken = bytearray()

    def write(self, piece: bytes) -> None:
        self.met.set()
        self.goes.wait()
        self.taken += piece


@pytest.fixture
def reader():
    reader = Reader()
    yield reader
    reader.goes.set()


def test_all_is_written_in_order_once_the_reader_reads(reader):
    drain = Drain(reader.write)
    pieces = [b"%d\n" % number * 1000 for number in range(1000)]
    for piece in pieces:
        drain.put(piece)
    assert drain.behind and not drain.settle(0)
    reader.goes.set()
    assert drain.settle(60) and not drain.behind
    assert reader.taken == b"".join(pieces)


def test_a_limit_drops_the_oldest_pieces_and_says_how_many_lines_they_had(reader):
    drain = Drain(reader.write, limit=10)
    drain.put(b"0\n")
    reader.met.wait()
    for piece in (b"1\n2\n", b"3\n", b"4\n", b"5\n", b"6\n"):
        drain.put(piece)
    reader.goes.set()
    assert drain.settle(60)
    assert reader.taken.endswith(LOST % 2 + b"3\n4\n5\n6\n")


def test_what_is_abandoned_is_counted_in_lines_and_no_piece_of_it_is_begun_any_more(reader):
    drain = Drain(reader.write)
    for _ in range(3):
        drain.put(b"a line\n" * 2)
    reader.met.wait()
    assert drain.abandon() == 6  # of the first piece, nothing is written yet either
    reader.goes.set()
    assert drain.settle(60)
    assert reader.taken == b"a line\n" * 2  # the piece that was begun


def test_a_reader_that_has_gone_is_reported_once(reader):
    ours, theirs = os.pipe()
    os.close(ours)

    def write(piece: bytes) -> None:
        os.write(theirs, piece)

    drain = Drain(write)
    with pytest.raises(BrokenPipeError):
        drain.hand(b"x", moment=60)
    assert drain.settle(60)
    with suppress(BrokenPipeError):  # a later write meets the same
        drain.hand(b"x", moment=60)
    os.close(theirs)
