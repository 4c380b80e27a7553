"""What crosses the pipe comes out as it went in."""

import math

import pytest

from rapidfire_cli.engine.messages import (
    Assignment,
    Evict,
    Finding,
    Probe,
    Probed,
    Quit,
    Train,
    decode,
    encode,
)
from rapidfire_cli.facts import EpochEnded, Metric


@pytest.mark.parametrize(
    "message",
    [
        Probe(('{"a":1}', "{}")),
        Train((Assignment(3, '{"x":"é\\n"}', 42, "runs/3-ab"),), until=7),
        Evict(2),
        Quit(),
        Probed((Finding(0, ("train", "optimizer"), "E402", "no", found="momentum"),)),
        EpochEnded(1, 2, 30, (Metric("train", "loss", 0.1 + 0.2), Metric("train", "x", math.inf)), 0.25),
    ],
)
def test_a_message_is_one_line_and_survives_the_pipe(message):
    line = encode(message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert decode(line) == message


def test_nan_survives_the_pipe():
    [metric] = decode(encode(EpochEnded(1, 1, 1, (Metric("train", "loss", math.nan),), 0.0))).metrics
    assert math.isnan(metric.value)


def test_what_is_no_message_is_refused():
    with pytest.raises(KeyError):
        decode(b'{"is": "Nonsense"}')
