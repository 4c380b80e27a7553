"""Streams of a real pipe: nobody waits for its reader, and what is kept arrives."""

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from rapidfire_cli.app.streams import Data, ReaderGone, lags, settle, unblocked, unhurried

LINES = "".join(f"line {number}\n" for number in range(20_000))  # more than a pipe holds


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The end to read, the end to write."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


def read_until(descriptor: int, end: bytes) -> bytes:
    read = b""
    while not read.endswith(end):
        read += os.read(descriptor, 1 << 16)
    return read


def test_whoever_writes_progress_to_a_pipe_that_nobody_reads_goes_on(pipe):
    plain = os.fdopen(os.dup(pipe[1]), "w")
    stream = unblocked(plain)
    stream.write(LINES)
    assert lags(stream)
    assert read_until(pipe[0], b"line 19999\n") == LINES.encode()
    settle(stream)
    assert not lags(stream)
    plain.close()


def test_what_is_beyond_the_limit_is_dropped_from_the_front_and_the_last_lines_arrive(pipe):
    plain = os.fdopen(os.dup(pipe[1]), "w")
    stream = unblocked(plain)
    for _ in range(10):
        stream.write(LINES)
    read = read_until(pipe[0], b"line 19999\n")
    while lags(stream) or select.select([pipe[0]], [], [], 0)[0]:  # it may lag while the pipe is empty
        if select.select([pipe[0]], [], [], 0.01)[0]:
            read += os.read(pipe[0], 1 << 16)
    assert b" lines not shown: they were not read in time ...\n" in read
    assert read.endswith(b"line 19999\n") and len(read) < 10 * len(LINES)
    plain.close()


def test_a_stream_without_a_descriptor_stays_as_it_is():
    stream = io.StringIO()
    assert unblocked(stream) is stream
    assert not lags(stream)
    settle(stream)


def data(descriptor: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(Data(descriptor, "w", closefd=False)))


def test_data_that_nobody_reads_are_kept_until_the_end(pipe, monkeypatch):
    monkeypatch.setattr(sys, "stdout", data(pipe[1]))
    read = b""
    with unhurried(lambda: False):
        print(LINES, end="", flush=True)
        read = read_until(pipe[0], b"line 19999\n")
    assert read == LINES.encode()


def test_after_a_stop_a_reader_that_has_stalled_is_not_waited_for_and_what_it_missed_is_counted(
    pipe, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "stdout", data(os.dup(pipe[1])))
    with unhurried(lambda: True):
        print(LINES, end="", flush=True)
    warning = capsys.readouterr().err
    assert warning.startswith("warning: ") and "lines of output were dropped" in warning


def test_a_reader_that_has_gone_is_reported(pipe, monkeypatch):
    monkeypatch.setattr(sys, "stdout", data(os.dup(pipe[1])))
    os.close(pipe[0])
    with pytest.raises(ReaderGone), unhurried(lambda: False):
        print(LINES, end="", flush=True)
