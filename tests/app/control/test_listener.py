"""control.sock: who may use it, how it is found, and that neither end waits for the other."""

import ctypes
import json
import os
import socket
import stat
from contextlib import ExitStack

import pytest

from rapidfire_cli.app.control import asking, listener
from rapidfire_cli.app.control.asking import new_request, send
from rapidfire_cli.app.control.listener import address, listening
from rapidfire_cli.durable.lock import Held, lock
from rapidfire_cli.requests import Stop, decode_request, encode
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import overview
from rapidfire_cli.store.requests_taken import requests_taken
from tests.store.sweep import enrolled

REQUEST = new_request(Stop((1,)), "cli")


@pytest.fixture
def home(tmp_path):
    deep = tmp_path.joinpath(*["a directory whose name is long"] * 5)
    deep.mkdir(parents=True)
    return ExperimentDir(deep)


def connected(home, stack: ExitStack) -> socket.socket:
    client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    with address(home.control) as name:
        client.connect(name)
    return client


def test_the_socket_is_its_owners_alone_and_goes_with_the_listener(home):
    assert len(bytes(home.control)) > 108, "longer than the path of a socket can be"
    with listening(home.control):
        assert stat.S_IMODE(home.control.stat().st_mode) == 0o600
    assert not home.control.exists()


NOBODY = 65534
PR_SET_DUMPABLE = 4  # prctl(2)


def as_nobody(work) -> bool:
    """Whether `work` raises PermissionError in a process of another user."""
    if (child := os.fork()) == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # else its own /proc/self/fd is closed to it
            work()
        except PermissionError:
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_nobody_else_on_the_machine_can_send_a_request(tmp_path):
    """Though everybody may enter the directory and read what is in it."""
    for parent in (tmp_path, *tmp_path.parents):
        if parent.owner() == tmp_path.owner() and parent.stat().st_mode & 0o7 == 0:
            parent.chmod(0o755)
    home = ExperimentDir(tmp_path / "digits")
    enrolled(home.journal).close()
    with lock(home.lock, "fit"), listening(home.control) as made:
        assert as_nobody(lambda: send(home, REQUEST)), "during a fit"
        assert made.pending() == []
    assert as_nobody(lambda: send(home, REQUEST)), "without one"
    assert not home.requests.exists()
    assert requests_taken(home.journal) == ()
    assert not as_nobody(lambda: overview(home.journal, alive=False)), "it may look"


def test_a_socket_that_a_killed_controller_left_behind_is_replaced(home):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server, address(home.control) as name:
        server.bind(name)
    with listening(home.control) as made, ExitStack() as stack:
        connected(home, stack)
        assert made.pending() == []


def test_a_request_comes_with_who_sent_it_as_the_kernel_says(home):
    with listening(home.control) as made, ExitStack() as stack:
        client = connected(home, stack)
        client.sendall(encode(REQUEST).encode()[:20])
        assert made.pending() == [], "the rest is missing"
        client.sendall(f"{encode(REQUEST)[20:]}\n".encode())
        [(peer, line)] = made.pending()
        assert (peer.uid, peer.pid) == (os.getuid(), os.getpid())
        assert decode_request(line) == REQUEST
        peer.say(json.dumps({"answers": []}))
        assert made.pending() == []
        assert client.makefile().read() == '{"answers": []}\n'


def test_a_client_that_says_too_much_or_leaves_is_dropped(home, monkeypatch):
    monkeypatch.setattr(listener, "MOST_BYTES", 10)
    with listening(home.control) as made, ExitStack() as stack:
        connected(home, stack).sendall(b"x" * 100)
        connected(home, stack).close()
        made.pending()
        assert made.pending() == [] and made._clients == []


def test_a_lock_that_is_held_by_a_process_that_says_nothing_is_given_up_on(home, monkeypatch):
    monkeypatch.setattr(asking, "PATIENCE", 0.2)
    with lock(home.lock, "process 4711"), pytest.raises(Held, match="process 4711"):
        send(home, REQUEST)
    with lock(home.lock, "process 4711"), listening(home.control), pytest.raises(Held, match="process 4711"):
        send(home, REQUEST)
