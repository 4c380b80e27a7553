"""Two ends that both have more to say than the kernel holds hear all of it."""

import select
import socket

import pytest

from rapidfire_cli.engine.local.channel import Channel

LINES = [b"x" * (number % 997) + b"\n" for number in range(20_000)]  # 10 MB


@pytest.fixture
def ends():
    ours, theirs = map(Channel, socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


def exchange(ours: Channel, theirs: Channel) -> tuple[list[bytes], list[bytes]]:
    """What each hears, until neither has anything left to say."""
    heard: dict[Channel, list[bytes]] = {ours: [], theirs: []}
    poll = select.poll()
    while True:
        for end in heard:
            poll.register(end, end.wants)
        if not poll.poll(0) and not any(end.behind for end in heard):
            return heard[ours], heard[theirs]
        for end in heard:
            end.push()
            heard[end] += end.pull() or ()


def test_what_both_ends_put_before_either_reads_arrives_whole_and_in_order(ends):
    for line in LINES:
        ends[0].put(line)
        ends[1].put(line)
        ends[0].push()
        ends[1].push()
    assert all(end.behind for end in ends)
    lines = [line[:-1] for line in LINES]
    assert exchange(*ends) == (lines, lines)


def test_one_line_of_many_megabytes_arrives_whole(ends):
    ends[0].put(b"y" * 2**24 + b"\n")
    assert exchange(*ends) == ([], [b"y" * 2**24])


def test_it_wants_to_write_only_while_something_is_left_to_be_sent(ends):
    ours, theirs = ends
    assert ours.wants == select.POLLIN
    ours.put(b"z" * 2**22 + b"\n")
    ours.push()
    assert ours.wants == select.POLLIN | select.POLLOUT
    exchange(ours, theirs)
    assert ours.wants == select.POLLIN


def test_nothing_at_hand_is_told_from_an_end_that_is_closed(ends):
    ours, theirs = ends
    assert ours.pull() is None
    theirs.put(b"last\n")
    theirs.push()
    theirs.close()
    assert ours.pull() == [b"last"]
    with pytest.raises(OSError, match="closed"):
        ours.pull()
    ours.put(b"too late\n")
    with pytest.raises(BrokenPipeError):
        ours.push()
