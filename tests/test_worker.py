"""The worker's end of the pipe."""

import socket

import pytest

from rapidfire_cli.engine.messages import Evict, Quit, encode
from rapidfire_cli.worker import Pipe


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Pipe(ours), theirs


def test_time_without_an_order_is_spent_on_what_there_is_to_do(ends):
    pipe, controller = ends
    asked = []

    def spare(idle):
        asked.append(idle)
        if len(asked) == 4:
            controller.sendall(encode(Quit()))
        return 0.001

    assert pipe.next(spare) == Quit()
    assert asked == [False, True, True, True]


def test_an_order_at_hand_comes_before_whatever_else_there_is_to_do(ends):
    pipe, controller = ends
    controller.sendall(encode(Evict(1)) + encode(Quit()))

    assert pipe.next(lambda idle: pytest.fail("it had an order")) == Evict(1)
    assert pipe.next(lambda idle: pytest.fail("it had an order")) == Quit()


def test_what_is_told_while_waiting_goes_out_before_the_wait(ends):
    pipe, controller = ends
    heard = []

    def spare(idle):
        if not idle:
            pipe.tell(Evict(7))
        else:
            heard.append(controller.recv(100, socket.MSG_DONTWAIT))
            controller.sendall(encode(Quit()))
        return 0.001

    assert pipe.next(spare) == Quit()
    assert heard == [encode(Evict(7))]
