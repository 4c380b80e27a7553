"""The bridge: the process that speaks with Ray, so that the controller need not.

Theory of operation
-------------------
The controller starts the bridge as it starts a worker: by exec, with a socket pair and its own process id,
and a guardian that ends the bridge with the controller. The first line says which cluster to use. The bridge
connects, places a steward on each node, numbers their slots in the order in which they join, and relays
messages between the controller and the stewards without decoding them. A node that does not share the
experiment's directory has a courier, which copies files before it passes messages on (`carrier`).

When a cluster's head dies, Ray ends every process that is connected to it, after a minute and without an
exception. So that process must not be the controller: it sees the bridge end, and says so.

Invariants:

- A worker is reported gone only once it has ended for certain: its steward says so, or has been silent for
  SILENCE seconds (`lease`).
- At most one poll of a steward is on its way, on which the lease depends.
- The slots of a node are withdrawn before its workers are reported gone, so that its loss is not taken for
  crashes of runs.
"""

import asyncio
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from rapidfire_cli.engine.local.channel import Channel
from rapidfire_cli.engine.local.guardian import die_with, vanish
from rapidfire_cli.engine.local.slots import Offer, packed, slots
from rapidfire_cli.engine.messages import decode
from rapidfire_cli.engine.ray import cluster, code
from rapidfire_cli.engine.ray.carrier import TRAIN, Courier
from rapidfire_cli.engine.ray.cluster import NodeInfo, Unusable
from rapidfire_cli.engine.ray.code import MOST, TooLarge
from rapidfire_cli.engine.ray.copies import Store
from rapidfire_cli.engine.ray.lease import SILENCE
from rapidfire_cli.engine.ray.room import Portion, Room
from rapidfire_cli.engine.ray.steward import mismatch
from rapidfire_cli.engine.ray.wire import (
    Connect,
    Connected,
    Dump,
    Gone,
    Joined,
    Kill,
    Lost,
    Record,
    Start,
    Withdrawn,
    line,
    read,
)

LOOK_INTERVAL = 2.0  # seconds between two looks at the cluster's nodes (assumed)
PLACING = 60.0  # seconds for a steward to start; Ray may install things first (assumed)
ALONE = 60.0  # seconds that a cluster without a usable node may take to get another (assumed)
NOTICING = 5  # seconds until Ray says that a node has gone whose processes do not answer (assumed)
RETRY = 30.0  # seconds until a node that could not be used is asked again (assumed)


@dataclass(slots=True, eq=False)
class Node:
    """A node with a steward."""

    info: NodeInfo
    portion: Portion
    steward: Any  # Ray's handle
    slots: tuple[int, ...]
    heard: float  # when it answered last
    calls: int = 0  # of `put`
    workers: set[int] = field(default_factory=set)
    withdrawn: bool = False
    lost: bool = False
    courier: Courier | None = None  # if it does not share the experiment's directory


class Bridge:
    """Relays between the controller and the stewards."""

    def __init__(self, channel: Channel, wish: Connect) -> None:
        self._channel = channel
        self._wish = wish
        self._nodes: dict[str, Node] = {}  # by Ray's id
        self._refused: dict[str, float] = {}  # when nodes that could not be used are asked again
        self._homes: dict[int, Node] = {}  # by worker
        self._placing: set[str] = set()  # nodes whose stewards are being started
        self._slots: list[Node] = []  # the node of each slot
        self._room = Room(wish.workers, wish.gpus, wish.threads)
        self._tasks: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[str]
        self._here = Store(Path(wish.trace).parent)
        self._trained: dict[
            int, object
        ] = {}  # the node, or its courier, that was ordered to train a run last
        self._archive: asyncio.Task[bytes] | None = None  # of the working directory

    async def serve(self) -> None:
        """Serve the controller until it closes the socket. Raises Unusable."""
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        new = await self._new(await asyncio.to_thread(cluster.draining))
        placed = await asyncio.gather(*(self._place(info, len(new) - at) for at, info in enumerate(new)))
        if problem := next(filter(None, placed), ""):
            raise Unusable(problem)
        if missing := self._room.gpus_missing:
            asked = self._wish.gpus or 0
            gpus = "1 GPU" if asked == 1 else f"{asked} GPUs"
            raise Unusable(f"{gpus} requested, but the nodes of the Ray cluster have {asked - missing}")
        if not self._slots:
            raise Unusable("the Ray cluster has no node with cores or GPUs")
        self._say(Connected())
        loop.add_reader(self._channel.fileno(), self._listen)
        self._begin(self._look())
        raise Unusable(await self._over)

    # The controller

    def _say(self, *records: Record) -> None:
        self._send([line(record) for record in records])

    def _send(self, lines: list[bytes]) -> None:
        for each in lines:
            self._channel.put(each + b"\n")
        self._push()

    def _push(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._channel.push()
        except OSError:
            leave(self._nodes.values())
        if self._channel.behind:
            loop.add_writer(self._channel.fileno(), self._push)
        else:
            loop.remove_writer(self._channel.fileno())

    def _listen(self) -> None:
        """Pass the controller's orders on, those for one node in one call."""
        try:
            lines = self._channel.pull()
        except OSError:
            leave(self._nodes.values())
        orders: dict[Node, list[bytes]] = {}
        for each in lines or ():
            [message] = read([each])
            if (home := self._home(message)) is None:
                continue
            if home.courier:
                home.courier.order(message, each)
            else:
                orders.setdefault(home, []).append(each)
        for node, due in orders.items():
            self._put(node, due)

    def _put(self, node: Node, orders: list[bytes]) -> None:
        node.steward.put.remote(node.calls, orders)
        node.calls += 1

    def _home(self, message: Record | tuple[int, bytes]) -> Node | None:
        """The node whose worker the order is for; None if it is gone or lost."""
        match message:
            case (int(worker), bytes(order)):
                home = self._homes.get(worker)
                if TRAIN in order and home and not home.courier:
                    self._trained |= {one.run: home for one in decode(order).runs}
            case Dump(worker) | Kill(worker):
                home = self._homes.get(worker)
            case Start(worker, slot):
                home = self._slots[slot.index]
                if home.lost:
                    self._say(Gone(worker, f"could not be started: node {home.info.host} is lost"))
                else:
                    home.workers.add(worker)
                    self._homes[worker] = home
            case _:
                raise ValueError(message)
        return None if home is None or home.lost else home

    # Nodes

    async def _look(self) -> None:
        """Look for nodes that join or are about to go; without any for long, the cluster is of no use."""
        alone = None
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            leaving = await asyncio.to_thread(cluster.draining)
            new = await self._new(leaving)
            for at, info in enumerate(new):
                self._begin(self._place_late(info, len(new) - at))
            for node in [node for id_, node in self._nodes.items() if id_ in leaving]:
                self._withdraw(node)
            if any(not node.withdrawn for node in self._nodes.values()):
                alone = None
                continue
            alone = alone or time.monotonic()
            if time.monotonic() - alone > ALONE and not self._over.done():
                self._over.set_result("no node of the Ray cluster is left")

    async def _new(self, leaving: set[str]) -> list[NodeInfo]:
        """The nodes without a steward, but for those that are about to go."""
        found = await asyncio.to_thread(lambda: [*cluster.nodes()])
        busy = leaving | self._placing | {id_ for id_, node in self._nodes.items() if not node.lost}
        now = time.monotonic()
        return [info for info in found if info.id not in busy and self._refused.get(info.id, 0.0) <= now]

    async def _place_late(self, info: NodeInfo, left: int) -> None:
        """Place a steward on a node that joined later."""
        if problem := await self._place(info, left):
            print(problem, file=sys.stderr, flush=True)

    async def _place(self, info: NodeInfo, left: int) -> str:
        """Place a steward on one of `left` new nodes; return what is wrong with it, empty for nothing."""
        portion = self._room.take(info.cores, info.gpus, left)
        if portion is None:
            return ""
        self._placing.add(info.id)
        steward = cluster.place(info.id, portion.cores, portion.gpus, self._wish.command)
        problem = await self._accept(info, steward, portion)
        self._placing.discard(info.id)
        if problem is None:
            return ""
        self._refused[info.id] = time.monotonic() + RETRY
        self._room.give_back(portion)
        ray.kill(steward)
        return problem

    async def _accept(self, info: NodeInfo, steward: Any, portion: Portion) -> str | None:
        """Let the node join; or say what is wrong with it, nothing if it has gone meanwhile."""
        look = steward.look.remote(self._wish.directory, self._wish.trace)
        try:
            sight = await asyncio.wait_for(look, PLACING)
        except TimeoutError:
            needed = portion.workers or portion.gpus
            problem = f"node {info.host} has no {needed} free cores or GPUs after {PLACING:g} seconds"
            return await self._unless_gone(info, problem)
        except RayError as error:
            problem = f"node {info.host} cannot run rapidfire: {str(error).strip().splitlines()[-1]}"
            return await self._unless_gone(info, problem)
        if problem := mismatch(self._wish, info.host, sight):
            return problem
        apart = sight.secret != self._wish.secret
        lacks = apart or not sight.enters
        if lacks and (problem := await self._settle(info, steward, apart, sight.enters)):
            return await self._unless_gone(info, problem)
        offer = Offer(info.cores, sight.gpus[: portion.gpus])
        own = slots(offer, portion.workers, portion.threads)
        if offer.gpus:
            own = packed(own, self._wish.runs_per_gpu)
        first = len(self._slots)
        offered = tuple(replace(slot, index=first + slot.index, host=info.host) for slot in own)
        numbers = tuple(slot.index for slot in offered)
        node = Node(info, portion, steward, numbers, time.monotonic())
        if apart:
            put, trained = partial(self._put, node), self._trained
            node.courier = Courier(self._here, steward, put, self._send, self._begin, trained)
        self._nodes[info.id] = node
        self._slots += [node] * len(offered)
        self._begin(self._follow(node))
        self._say(Joined(offered, portion.threads, apart))
        return None

    @staticmethod
    async def _unless_gone(info: NodeInfo, problem: str) -> str:
        """The problem of a node; nothing if the reason is that it has gone."""
        for _ in range(NOTICING):
            there = await asyncio.to_thread(lambda: {node.id for node in cluster.nodes()})
            if info.id not in there:
                print(f"{problem} (the node has gone)", file=sys.stderr, flush=True)
                return ""
            await asyncio.sleep(1)
        return problem

    async def _settle(self, info: NodeInfo, steward: Any, apart: bool, enters: bool) -> str:
        """Give the node a directory of its own, with our code if it lacks that; or say what is wrong."""
        directory = self._wish.directory
        if self._archive is None:
            packing = asyncio.to_thread(code.packed, Path(directory))
            self._archive = asyncio.get_running_loop().create_task(packing)
        try:
            archive = await self._archive
        except TooLarge:
            if not enters:
                most = f"more than {MOST >> 20} MiB"
                return (
                    f"node {info.host} has no directory {directory}, and {most} would be copied: put it there"
                )
            archive = None
        except OSError as error:
            return f"the working directory cannot be copied: {error}"
        try:
            await asyncio.wait_for(steward.settle.remote(directory, apart, archive), PLACING)
        except (RayError, OSError) as error:
            return f"node {info.host} cannot take copies: {str(error).strip().splitlines()[-1]}"
        return ""

    async def _follow(self, node: Node) -> None:
        """Poll the steward until it is lost."""
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    reports = await node.steward.poll.remote()
            except (RayError, TimeoutError) as error:
                print(f"node {node.info.host}: {error}", file=sys.stderr, flush=True)
                break
            node.heard = time.monotonic()
            for ended in read(each for each in reports if each.startswith(b"{")):
                if isinstance(ended, Gone):
                    node.workers.discard(ended.worker)
                    self._homes.pop(ended.worker, None)
            if node.courier:
                for each in reports:
                    node.courier.report(each)
            else:
                self._send(reports)
        node.lost = True
        self._withdraw(node)
        await asyncio.sleep(node.heard + SILENCE - time.monotonic())
        with suppress(RayError):
            ray.kill(node.steward)
        for worker in sorted(node.workers):
            self._homes.pop(worker, None)
            gone = Gone(worker, f"node {node.info.host} lost")
            if node.courier:
                node.courier.report(line(gone))
            else:
                self._say(gone)

    def _withdraw(self, node: Node) -> None:
        if not node.withdrawn:
            node.withdrawn = True
            self._room.give_back(node.portion)
            self._say(Withdrawn(node.slots))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task; the bridge ends with an error of it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not self._over.done():
            self._over.set_result(f"the bridge to Ray failed: {type(error).__name__}: {error}")


def leave(nodes: Any) -> None:
    """End with the stewards; those that cannot be reached end when their leases do."""
    for node in nodes:
        with suppress(RayError):
            ray.kill(node.steward)
    ray.shutdown()
    os._exit(0)


def main() -> None:
    """Serve the controller."""
    descriptor, controller = map(int, sys.argv[1:3])
    die_with(controller)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=descriptor))
    lines: list[bytes] = []
    while not lines:
        select.select([channel], [], [])
        try:
            lines = channel.pull() or []
        except OSError:
            vanish()
    [wish] = read(lines)
    assert isinstance(wish, Connect)
    try:
        cluster.connect(wish.address, wish.insecure)
        asyncio.run(Bridge(channel, wish).serve())
    except Unusable as problem:
        channel.put(line(Lost(str(problem))) + b"\n")
        channel.push()
    leave(())


if __name__ == "__main__":
    main()
