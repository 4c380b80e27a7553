"""Requests read as the commands that make them."""

import pytest

from rapidfire_cli.facts import RequestTaken
from rapidfire_cli.requests import Answer, CloneRun, Keep, Request, Stop, Undo
from rapidfire_cli.store.requests_taken import Recorded
from rapidfire_cli.view.requests import requests_table
from rapidfire_cli.view.tables import fitting


@pytest.mark.parametrize(
    ("ask", "command"),
    [
        (Stop((3, 4), at_once=True), "stop 3-4 --now"),
        (Keep((2,)), "keep 2"),
        (Undo(), "undo"),
        (
            CloneRun((1,), ("train.epochs=2", "user_knobs.a=b c")),
            "clone 1 --set train.epochs=2 --set 'user_knobs.a=b c'",
        ),
        (
            CloneRun((1,), (), "matching", "epoch:3", 2, keep_schedule=True),
            "clone 1 --warm-start=matching --from=epoch:3 --epochs=2 --keep-schedule",
        ),
        (CloneRun((1,), seed=0), "clone 1 --seed=0"),
    ],
)
def test_a_request_is_shown_as_it_can_be_typed(ask, command):
    taken = RequestTaken(Request("", "cli", ask), (Answer(1, "applied", "done"),))
    [row] = requests_table([Recorded(0.0, taken)]).rows
    column = next(each for each in requests_table([]).columns if each.title == "request")
    assert column.text(row) == command


def test_a_narrow_terminal_shows_requests_and_answers_first():
    columns = requests_table([]).columns
    assert [columns[index].title for index in fitting(columns, [20] * 5, 44)] == ["request", "answer"]
