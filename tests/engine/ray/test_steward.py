"""A steward hosts ordinary workers, takes numbered orders, and ends with them when nobody polls it."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rapidfire_cli.durable import publication
from rapidfire_cli.engine.messages import Assignment, Probe, Probed, Ready, Train, decode, encode
from rapidfire_cli.engine.ports import Slot
from rapidfire_cli.engine.ray.lease import RENEWAL
from rapidfire_cli.engine.ray.steward import Sight, Steward, mismatch, versions
from rapidfire_cli.engine.ray.wire import Beat, Connect, Gone, Kill, Start, line, read, relayed
from tests.engine.local.test_backend import COMMAND, SETUP, is_alive

SLOT = Slot(3, "cpu", visible="", share=1.0, host="node")
VERSIONS = (("python", "3.11"), ("torch", "2"))
WISH = Connect("auto", "/work", "/exp/cluster", "s3cret", VERSIONS)
SEEN = Sight("s3cret", enters=True, gpus=(), versions=VERSIONS)


def start(place: Path, worker: int = 1) -> bytes:
    return line(Start(worker, SLOT, replace(SETUP, misc=str(place), slot=3)))


def order(worker: int, message) -> bytes:
    return relayed(worker, encode(message).rstrip())


async def polled(steward: Steward, until) -> list:
    """What the steward says, decoded, up to something of which `until` is true."""
    said: list = []
    while not any(map(until, said)):
        lines = read(await steward.poll())
        said += [(each[0], decode(each[1])) if isinstance(each, tuple) else each for each in lines]
    return said


def test_orders_that_overtake_each_other_are_obeyed_in_their_order(tmp_path):
    async def scene() -> list:
        steward = Steward(tuple(COMMAND))
        await steward.look(str(Path.cwd()), "none")
        await steward.put(1, [order(1, Probe(("wrong",)))])  # before the worker is started
        await steward.put(2, [order(1, Probe(()))])
        await steward.put(0, [start(tmp_path)])
        said = await polled(steward, lambda each: each == (1, Probed(())))
        await steward.put(3, [line(Kill(1))])
        said += await polled(steward, lambda each: each == Gone(1, "killed"))
        return said

    said = asyncio.run(scene())
    kinds = [type(each[1]) for each in said if isinstance(each, tuple)]
    assert kinds == [Ready, Probed, Probed]


def test_workers_of_different_machines_share_no_prepared_rows(tmp_path):
    async def scene() -> str:
        steward = Steward(tuple(COMMAND))
        await steward.look(str(Path.cwd()), "none")
        await steward.put(0, [start(tmp_path), line(Kill(1))])
        return steward._setups[SLOT.index].rows

    assert asyncio.run(scene()) == f"{SETUP.rows}/{publication.machine()}"


def test_a_worker_that_ends_is_gone_after_all_that_it_reported_and_its_last_heartbeat(tmp_path):
    async def scene() -> list:
        steward = Steward(tuple(COMMAND))
        await steward.look(str(Path.cwd()), "none")
        dying = Train((Assignment(8, '{"epochs": 2, "does": "kill"}', 42, "."),), 1)
        await steward.put(0, [start(tmp_path), order(1, dying)])
        return await polled(steward, lambda each: isinstance(each, Gone))

    said = asyncio.run(scene())
    assert [type(each) for each in said[-2:]] == [Beat, Gone]
    assert said[-1] == Gone(1, "killed by SIGKILL")


def test_a_worker_that_cannot_be_started_is_gone(tmp_path):
    async def scene() -> list:
        steward = Steward(("/no/such/program",))
        await steward.look(str(Path.cwd()), "none")
        await steward.put(0, [start(tmp_path)])
        return await polled(steward, lambda each: isinstance(each, Gone))

    [gone] = asyncio.run(scene())
    assert gone.cause.startswith("could not be started: ")


UNPOLLED = f"""
import asyncio, sys
from pathlib import Path
from rapidfire_cli.engine.ray.steward import Steward
from tests.engine.ray.test_steward import polled, start
async def scene():
    steward = Steward(tuple({COMMAND!r}))
    await steward.look(str(Path.cwd()), "none")
    await steward.put(0, [start(Path(sys.argv[1]))])
    [(_, ready)] = [each for each in await polled(steward, lambda each: isinstance(each, tuple))
                    if isinstance(each, tuple)]
    print(ready.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(scene())
"""
JOINING = f"""
import asyncio
from rapidfire_cli.engine.ray.steward import Steward
async def scene():
    steward = Steward()
    await steward.look("/", "none")
    await asyncio.sleep({RENEWAL} + 0.5)  # while code is copied
    await steward.poll()
    print("joined")
asyncio.run(scene())
"""
FROZEN = f"""
import asyncio, time
from rapidfire_cli.engine.ray.steward import Steward
async def scene():
    steward = Steward()
    await steward.look("/", "none")
    await steward.poll()
    time.sleep({RENEWAL} + 0.1)  # as a machine that was frozen: nothing else ran meanwhile
    await steward.poll()
    print("renewed")
asyncio.run(scene())
"""


@pytest.fixture(scope="module")
def waiting(tmp_path_factory) -> "Iterator[dict[str, subprocess.Popen[str]]]":
    """Stewards that wait for the end of a lease, all at the same time."""
    place = str(tmp_path_factory.mktemp("worker"))
    processes = {
        code: subprocess.Popen([sys.executable, "-c", code, place], stdout=subprocess.PIPE, text=True)
        for code in (UNPOLLED, JOINING, FROZEN)
    }
    yield processes
    for process in processes.values():
        process.kill()
        process.wait()


def test_a_steward_that_is_not_polled_ends_and_its_workers_with_it(waiting):
    process = waiting[UNPOLLED]
    assert process.stdout
    worker = int(process.stdout.readline())
    assert is_alive(worker)
    begun = time.monotonic()
    assert process.wait() == 1
    assert time.monotonic() - begun > RENEWAL / 2, "it did not wait for another poll"
    assert not is_alive(worker)


def test_a_steward_that_has_no_workers_yet_may_take_longer_to_join(waiting):
    printed, _ = waiting[JOINING].communicate()
    assert (waiting[JOINING].returncode, printed) == (0, "joined\n")


def test_a_poll_that_comes_after_the_end_of_the_lease_does_not_renew_it(waiting):
    printed, _ = waiting[FROZEN].communicate()
    assert (waiting[FROZEN].returncode, printed) == (1, "")


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (SEEN, ""),
        (replace(SEEN, versions=(("python", "3.12"),)), "node n has python 3.12, this machine 3.11"),
        (replace(SEEN, versions=VERSIONS[:1]), "node n has torch not installed, this machine 2"),
    ],
)
def test_a_node_that_differs_is_refused(seen, told):
    assert mismatch(WISH, "n", seen).startswith(told) and bool(mismatch(WISH, "n", seen)) == bool(told)


def test_a_steward_sees_the_file_and_goes_to_the_directory(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    (tmp_path / "cluster").write_text("s3cret")

    async def scene() -> Sight:
        return await Steward().look(str(tmp_path), str(tmp_path / "cluster"))

    seen = asyncio.run(scene())
    assert (seen.secret, seen.enters, seen.versions) == ("s3cret", True, versions())
    assert Path.cwd() == tmp_path
