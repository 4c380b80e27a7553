"""Workers are processes of their own groups; how they end is told, and nothing they started outlives them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rapidfire_cli.engine.local.backend import (
    ALLOCATOR,
    WORKER,
    LocalBackend,
    LocalWorker,
    cache_environment,
    worker_environment,
)
from rapidfire_cli.engine.local.heartbeat import SECOND, blank, now
from rapidfire_cli.engine.local.log_rotation import LOG, MOST
from rapidfire_cli.engine.messages import (
    Assignment,
    Evict,
    Probe,
    Probed,
    Ready,
    Report,
    Setup,
    Train,
    encode,
)
from rapidfire_cli.engine.ports import Slot, WorkerGone
from rapidfire_cli.facts import Evicted
from tests.engine.obedient import ROOM

COMMAND = [sys.executable, "-m", "tests.engine.obedient"]
SLOT = Slot(0, "cpu", visible="", share=1.0)
SETUP = Setup("m:C", "null", "misc", "cpu", threads=2, chunks=1, checkpoint_every=30.0, data_cache=0)


@pytest.fixture
def workers(tmp_path: Path):
    return LocalBackend([SLOT], COMMAND, {0: SETUP}, tmp_path)


def next_reports(workers: LocalBackend, worker: LocalWorker) -> list[Report]:
    while not workers.wait([worker], 10):
        continue
    return list(worker.receive())


def order(config: str) -> Train:
    return Train((Assignment(1, config, 42, "."),), 1)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def is_guarded(worker: int) -> bool:
    """Whether its group has a process that is not its child."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            _, parent, group = path.read_text().rpartition(")")[2].split()[:3]
            if int(group) == worker and int(parent) != worker and path.parent.name != str(worker):
                return True
    return False


def ending(workers: LocalBackend, config: str) -> str:
    worker = workers.start(SLOT)
    next_reports(workers, worker)
    worker.send(order(config))
    with pytest.raises(WorkerGone) as gone:
        while True:
            next_reports(workers, worker)
    return str(gone.value)


def test_a_worker_says_that_it_is_ready_and_answers(workers):
    worker = workers.start(SLOT)
    [ready] = next_reports(workers, worker)
    assert ready == Ready(worker.pid, "cpu", ROOM)
    worker.send(Probe(()))
    assert next_reports(workers, worker) == [Probed(())]
    worker.kill()


def test_how_a_worker_ended_is_told(workers):
    assert ending(workers, '{"does": "kill"}') == "killed by SIGKILL"
    assert ending(workers, '{"does": "exit"}') == "ended with exit code 3"


def test_what_a_dead_worker_started_is_swept_up(workers, tmp_path):
    ending(workers, '{"does": "child"}')
    child = int((tmp_path / "worker-0.log").read_text())
    while is_alive(child):  # a signal takes a moment; a child that is never swept up runs into the time limit
        time.sleep(0.01)


def test_killing_a_worker_twice_and_sending_to_the_dead_do_nothing(workers):
    worker = workers.start(SLOT)
    worker.kill()
    worker.kill()
    worker.send(Probe(()))


def flooded(workers: LocalBackend, worker: LocalWorker, runs: range) -> list[int]:
    """Sends more orders than a pipe holds before any report is read; the runs that were evicted."""
    for run in runs:
        worker.send(Evict(run))
    evicted: list[int] = []
    while len(evicted) < len(runs):
        evicted += [report.run for report in next_reports(workers, worker) if isinstance(report, Evicted)]
    return evicted


def test_orders_and_reports_that_fill_the_pipe_both_ways_all_arrive_in_order(workers):
    worker = workers.start(SLOT)
    assert flooded(workers, worker, range(20_000)) == [*range(20_000)]
    worker.kill()


def test_a_worker_that_is_stopped_takes_no_orders_and_blocks_nobody(workers):
    worker = workers.start(SLOT)
    next_reports(workers, worker)
    os.kill(worker.pid, signal.SIGSTOP)
    for run in range(20_000):
        worker.send(Evict(run))
    assert workers.wait([worker], 0) == []
    os.kill(worker.pid, signal.SIGCONT)
    worker.send(Probe(()))
    reports: list[Report] = []
    while reports[-1:] != [Probed(())]:
        reports += next_reports(workers, worker)
    assert [report.run for report in reports if isinstance(report, Evicted)] == [*range(20_000)]
    worker.kill()


def test_a_stopped_worker_can_be_killed(workers):
    worker = workers.start(SLOT)
    os.kill(worker.pid, signal.SIGSTOP)
    worker.kill()
    assert not is_alive(worker.pid)


def test_a_worker_whose_reports_nobody_reads_leaves_when_the_controller_is_gone(tmp_path):
    ours, theirs = socket.socketpair()
    with theirs, os.fdopen(blank(), "rb") as page:
        shared = theirs.fileno(), page.fileno()
        process = subprocess.Popen([*COMMAND, *map(str, shared)], pass_fds=shared, cwd=Path.cwd())
    orders = [SETUP, *(Evict(run) for run in range(2_000))]  # it answers with twice as much
    ours.sendall(b"".join(map(encode, orders)))
    ours.close()
    assert process.wait() == 0


def test_a_worker_that_user_code_moved_to_another_process_group_is_killed_all_the_same(workers, tmp_path):
    worker = workers.start(SLOT)
    next_reports(workers, worker)
    worker.send(order('{"does": "leave"}'))
    while (tmp_path / "worker-0.log").read_text() != "left\n":
        time.sleep(0.01)
    worker.kill()
    assert not is_alive(worker.pid)


def test_a_worker_is_no_member_of_the_controllers_process_group(workers):
    worker = workers.start(SLOT)
    assert os.getpgid(worker.pid) == worker.pid != os.getpgrp()
    os.kill(worker.pid, signal.SIGKILL)
    worker.kill()


def test_a_worker_whose_lease_is_over_is_killed_though_it_is_frozen_and_lives_on_if_it_is_renewed(tmp_path):
    workers = LocalBackend([SLOT], WORKER, {0: SETUP}, tmp_path)
    frozen, renewed = (workers.start(SLOT, until=now() + SECOND) for _ in range(2))
    for worker in (frozen, renewed):
        while not is_guarded(worker.pid):
            time.sleep(0.01)
        os.kill(worker.pid, signal.SIGSTOP)
    renewed.lease(now() + 600 * SECOND)
    with pytest.raises(WorkerGone, match="killed by SIGKILL"):
        next_reports(workers, frozen)
    assert is_alive(renewed.pid)
    renewed.lease(now())  # the guardian sleeps until the first end, and looks again then
    renewed.kill()


def test_a_worker_ends_at_its_next_mark_once_its_lease_is_over():
    code = """
from rapidfire_cli.engine.local.heartbeat import Page, SECOND, blank, now
from rapidfire_cli.worker import marker
page = Page(blank())
page.lease(now() + 60 * SECOND)
mark = marker(page)
mark(1)
print(page.read().step, flush=True)
page.lease(now() - 1)
mark(2)
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_a_worker_sees_its_slots_device_and_threads_only():
    environment = worker_environment(Slot(1, "cuda:0", visible="3", share=1.0), 4, {})
    assert environment["CUDA_VISIBLE_DEVICES"] == "3"
    assert environment["OMP_NUM_THREADS"] == "4"


@pytest.mark.parametrize(
    ("visible", "share", "given", "expected"),
    [
        ("3", 0.5, {}, "expandable_segments:True"),
        ("3", 1.0, {}, None),
        ("", 0.5, {}, None),
        ("3", 0.5, {ALLOCATOR[0]: "backend:native"}, None),
        ("3", 0.5, {ALLOCATOR[1]: "backend:native"}, None),
    ],
)
def test_a_worker_that_shares_a_gpu_has_expandable_segments_unless_the_user_set_the_allocator(
    visible, share, given, expected
):
    environment = worker_environment(Slot(1, "cuda:0", visible, share), 1, given)
    assert environment.get(ALLOCATOR[0]) == expected


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nowhere", "ended with exit code 1: ModuleNotFoundError: No module named 'nowhere'"),
        ("raise OSError('line\\nand more')", "ended with exit code 1: OSError: line"),
        ("import sys; print('a hint:', 7); sys.exit(3)", "ended with exit code 3"),
        ("import os; os.abort()", "killed by SIGABRT"),
    ],
)
def test_a_worker_that_cannot_start_is_told_with_its_error(tmp_path, code, said):
    (tmp_path / "worker-0.log").write_text("KeyError: of another worker, before\n")
    workers = LocalBackend([SLOT], [sys.executable, "-c", code], {0: SETUP}, tmp_path)
    with pytest.raises(WorkerGone) as gone:
        next_reports(workers, workers.start(SLOT))
    assert str(gone.value) == said


def test_caches_go_where_they_usually_do_if_that_can_be_written(tmp_path):
    instead = tmp_path / "cache"
    (tmp_path / "file").touch()
    assert cache_environment({"XDG_CACHE_HOME": str(tmp_path / "not" / "yet")}, instead) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
    for place in (tmp_path / "file" / "below", "/proc/nowhere"):
        assert cache_environment({"XDG_CACHE_HOME": str(place)}, instead) == {"XDG_CACHE_HOME": str(instead)}


def test_caches_are_the_experiments_where_home_cannot_be_made(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null/home")
    assert cache_environment({}, tmp_path / "cache") == {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_environment({}, tmp_path / "cache") == {}


def test_the_log_of_a_short_turn_is_kept_to_its_size_too(workers, tmp_path):
    worker = workers.start(SLOT)
    run = Assignment(1, '{"epochs": 2}', 42, str(tmp_path))
    worker.send(Train((run,), 1))
    (tmp_path / LOG).touch()
    os.truncate(tmp_path / LOG, MOST + 1)
    workers.wait([worker], 10)
    assert (tmp_path / LOG).stat().st_size == 0
    worker.kill()
