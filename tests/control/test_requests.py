"""A request is read as it was sent, and nothing else is taken for one."""

import json

import pytest

from rapidfire_cli.records import to_plain
from rapidfire_cli.requests import CloneRun, Purge, Request, Resume, Stop, Undo, decode_request, encode

REQUEST = Request("00000000-0000-4000-8000-000000000000", "cli", Stop((1, 2), at_once=True), "running")
CLONE = Request(REQUEST.id, "cli", CloneRun((1,), ("a.b=1",), "all", "epoch:3", 2, 7, True, True))


@pytest.mark.parametrize(
    "request_",
    [
        REQUEST,
        CLONE,
        Request(REQUEST.id, "python", Resume((3,))),
        Request(REQUEST.id, "top", Undo(), means=Purge((4,))),
    ],
)
def test_a_request_is_read_as_it_was_sent(request_):
    assert decode_request(encode(request_)) == request_


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "not a uuid"},
        {"id": 5},
        {"source": "friend"},
        {"if_state": "dancing"},
        {"uid": "0"},
        {"ask": None},
        {"ask": {"is": "Stop", "runs": []}},
        {"ask": {"is": "Stop", "runs": [0]}},
        {"ask": {"is": "Stop", "runs": [True]}},
        {"ask": {"is": "Stop", "runs": "12"}},
        {"ask": {"is": "Stop", "runs": [1], "at_once": 1}},
        {"ask": {"is": "Stop", "runs": [1], "how": "at once"}},
        {"ask": {"is": "Resume", "runs": ["1"]}},
        {"means": {"is": "Undo"}},
        {"ask": {"is": "CloneRun", "runs": [1], "warm": "some"}},
        {"ask": {"is": "CloneRun", "runs": [1], "source": "epoch:0"}},
        {"ask": {"is": "CloneRun", "runs": [1], "epochs": -1}},
        {"ask": {"is": "CloneRun", "runs": [1], "changes": [1]}},
        {"ask": {"is": "Purge", "runs": []}},
        {"ask": {"is": "Answer", "run": 1, "outcome": "applied", "text": ""}},
    ],
)
def test_what_is_unsound_is_not_taken_for_a_request(changes):
    with pytest.raises(ValueError):
        decode_request(json.dumps({**to_plain(REQUEST), **changes}))


@pytest.mark.parametrize("line", ["", "{", "[]", "5", '"stop"', '{"is": "Request"}', "\xff", "[" * 100_000])
def test_what_is_no_request_at_all_is_refused(line):
    with pytest.raises(ValueError):
        decode_request(line)
