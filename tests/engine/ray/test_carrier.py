"""A courier between the controller and a real steward: nothing is believed before it is durable here."""

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ray")

from ray.exceptions import RayActorError

from rapidfire_cli.durable import publication
from rapidfire_cli.engine.messages import Assignment, Train, decode, encode
from rapidfire_cli.engine.ports import Slot
from rapidfire_cli.engine.ray.carrier import Courier
from rapidfire_cli.engine.ray.copies import PREPARED, Store
from rapidfire_cli.engine.ray.scratch import PLACE
from rapidfire_cli.engine.ray.steward import Steward
from rapidfire_cli.engine.ray.wire import Gone, Kill, Printed, Start, Stored, line, read, relayed
from rapidfire_cli.facts import EpochEnded, RunFailed, Saved
from tests.engine.local.test_backend import SETUP

TREE = "runs/7-abc"
FIRST, SECOND = "step-0000000001-epoch-000001", "step-0000000002-epoch-000002"
TRAIN = Train((Assignment(7, "{}", 42, f"rapidfire_experiments/tiny/{TREE}"),), 1)
SAVED = Saved(7, 1, 1)


def published(store: Store, name: str, weights: bytes = b"weights") -> None:
    files = {"model.safetensors": lambda path: path.write_bytes(weights)}
    publication.publish(store.base(TREE) / name, files, {})


@dataclass
class Post:
    """A courier, and what passed."""

    here: Store
    there: Store
    courier: Courier
    calls: list[str]  # of the steward
    put: list[Any] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)

    def order(self, message: Any) -> None:
        each = message if isinstance(message, bytes) else relayed(1, encode(message).rstrip())
        [parsed] = read([each])
        self.courier.order(parsed, each)

    def report(self, message: Any) -> None:
        record = isinstance(message, Stored | Gone | Printed)
        self.courier.report(line(message) if record else relayed(1, encode(message).rstrip()))


def plain(lines: list[bytes]) -> list[Any]:
    return [each if not isinstance(each, tuple) else decode(each[1]) for each in read(lines)]


def scene(
    tmp_path: Path,
    act: Callable[[Post], Any],
    at: str = "",
    error: Exception | None = None,
    then: Callable[[Post], Any] = lambda post: None,
) -> Post:
    """Let `act` do something, and wait until the courier is done.

    The call of the steward that is named `at` may fail, or something else may happen meanwhile.
    """

    async def play() -> Post:
        steward = Steward()
        await steward.settle("/", True, None)
        calls: list[str] = []

        def remote(name: str) -> Callable[..., Any]:
            async def call(*arguments: Any) -> Any:
                calls.append(name)
                if name == at:
                    then(post)
                if name == at and error:
                    raise error
                return await getattr(steward, name)(*arguments)

            return call

        names = ("pin", "read", "lacks", "receive", "install")
        handle = SimpleNamespace(**{name: SimpleNamespace(remote=remote(name)) for name in names})
        tasks: set[asyncio.Task[None]] = set()
        here = Store(tmp_path / "here")
        post: Post

        def begin(work: Any) -> None:
            tasks.add(asyncio.get_running_loop().create_task(work))

        courier = Courier(
            here,
            handle,
            lambda lines: post.put.extend(plain(lines)),
            lambda lines: post.said.extend(plain(lines)),
            begin,
            {},
        )
        post = Post(here, steward._own.store, courier, calls)
        act(post)
        while tasks:
            done, tasks = await asyncio.wait(tasks)
            for each in done:
                each.result()
        return post

    return asyncio.run(play())


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> None:
    (tmp_path / "node").mkdir()
    monkeypatch.setenv(PLACE, str(tmp_path / "node"))


def test_a_run_is_trained_once_the_node_has_its_last_checkpoint(tmp_path):
    def act(post: Post) -> None:
        published(post.here, FIRST)
        post.order(TRAIN)
        assert post.put == []

    post = scene(tmp_path, act)
    assert post.put == [TRAIN]
    assert publication.verify(post.there.base(TREE) / FIRST)


def test_a_run_that_the_node_trained_last_is_not_copied_again(tmp_path):
    def act(post: Post) -> None:
        published(post.here, FIRST)
        post.order(TRAIN)
        post.order(TRAIN)

    assert scene(tmp_path, act).calls.count("install") == 1


def test_nothing_is_copied_for_a_run_that_has_no_checkpoint(tmp_path):
    post = scene(tmp_path, lambda post: post.order(TRAIN))
    assert (post.put, post.calls) == ([TRAIN], [])


def test_a_run_that_comes_back_has_the_checkpoint_of_here_and_no_other(tmp_path):
    def act(post: Post) -> None:
        post.courier._had.add(TREE)
        published(post.there, SECOND)
        published(post.here, FIRST)
        post.order(TRAIN)

    there = scene(tmp_path, act).there.base(TREE)
    assert [path.name for path in there.iterdir()] == [FIRST]


def test_what_was_saved_is_durable_here_before_the_controller_hears_of_it(tmp_path):
    def act(post: Post) -> None:
        published(post.there, FIRST)
        post.report(Stored(1, 7, TREE))
        post.report(SAVED)
        assert post.said == []

    post = scene(tmp_path, act)
    assert post.said == [SAVED]
    assert publication.verify(post.here.base(TREE) / FIRST)


def test_another_worker_need_not_wait(tmp_path):
    def act(post: Post) -> None:
        published(post.there, FIRST)
        post.report(Stored(1, 7, TREE))
        post.report(SAVED)
        post.courier.report(relayed(2, encode(EpochEnded(9, 1, 1, (), 1.0)).rstrip()))

    assert scene(tmp_path, act).said == [EpochEnded(9, 1, 1, (), 1.0), SAVED]


def test_of_a_node_that_is_lost_meanwhile_only_the_end_is_heard(tmp_path):
    def act(post: Post) -> None:
        post.report(EpochEnded(7, 1, 1, (), 1.0))
        post.report(Stored(1, 7, TREE))
        post.report(SAVED)
        post.report(Gone(1, "node lost"))

    post = scene(tmp_path, act, "pin", RayActorError())
    assert post.said == [EpochEnded(7, 1, 1, (), 1.0), Gone(1, "node lost")]


def test_a_full_disk_pauses_the_experiment(tmp_path):
    def act(post: Post) -> None:
        published(post.there, FIRST)
        post.report(Stored(1, 7, TREE))
        post.report(SAVED)

    post = scene(tmp_path, act, "read", OSError(errno.ENOSPC, "No space left on device"))
    [failed] = post.said
    assert isinstance(failed, RunFailed) and failed.kind == "disk" and "No space left" in failed.cause
    assert post.put == [Kill(1)]


def test_a_worker_for_which_prepared_files_cannot_be_copied_is_not_started(tmp_path):
    def act(post: Post) -> None:
        publication.publish(post.here.home / PREPARED, {"scale": lambda path: path.write_text("2")}, {})
        post.order(line(Start(1, Slot(0, "cpu", "", 1.0), SETUP)))

    post = scene(tmp_path, act, "install", OSError(errno.ENOSPC, "No space left on device"))
    assert post.put == []
    assert post.said == [Gone(1, "could not be started: [Errno 28] No space left on device")]


def test_an_order_to_end_a_worker_waits_for_nothing_and_no_other_follows(tmp_path):
    def act(post: Post) -> None:
        published(post.here, FIRST)
        post.order(TRAIN)
        post.order(line(Kill(1)))
        assert post.put == [Kill(1)]

    assert scene(tmp_path, act).put == [Kill(1)]


def test_a_worker_that_is_ended_while_files_travel_gets_no_order(tmp_path):
    def act(post: Post) -> None:
        published(post.here, FIRST)
        post.order(TRAIN)

    assert scene(tmp_path, act, "install", then=lambda post: post.order(line(Kill(1)))).put == [Kill(1)]


def test_an_epoch_end_that_was_deleted_here_does_not_come_back(tmp_path):
    kept = f"kept/{FIRST}"

    def act(post: Post) -> None:
        published(post.there, FIRST)
        publication.twin(post.there.base(TREE) / FIRST, post.there.base(TREE) / kept)
        post.report(Stored(1, 7, TREE))

    post = scene(tmp_path, act)
    assert publication.verify(post.here.base(TREE) / kept)

    def again(post: Post) -> None:
        act(post)
        post.courier._kept.add((TREE, kept))
        publication.remove(post.here.base(TREE) / kept)

    assert not (scene(tmp_path, again).here.base(TREE) / kept).exists()


def test_prepared_files_are_brought_where_they_are_missing_or_have_changed(tmp_path):
    def act(post: Post) -> None:
        post.order(TRAIN)
        publication.publish(post.here.home / PREPARED, {"scale": lambda path: path.write_text("2")}, {})
        post.order(TRAIN)

    post = scene(tmp_path, act)
    assert (post.there.home / PREPARED / "scale").read_text() == "2"


def test_what_workers_print_is_added_to_the_log_here(tmp_path):
    def act(post: Post) -> None:
        for data in ("b25lCg==", "dHdvCg=="):
            post.report(Printed(f"{TREE}/log.txt", data))

    assert (scene(tmp_path, act).here.base(TREE) / "log.txt").read_text() == "one\ntwo\n"
