"""Where a fit trains: on this machine, or on the nodes of a Ray cluster."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec

from rapidfire_cli.app.devices import DeviceRequest, advised, check_gangs, seats
from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.experiments import LoadedExperiment
from rapidfire_cli.app.packing import ALONE, Packing, given, notes, wanted
from rapidfire_cli.durable import disk
from rapidfire_cli.engine.local.backend import WORKER, LocalBackend
from rapidfire_cli.engine.local.slots import packed
from rapidfire_cli.engine.messages import Setup
from rapidfire_cli.engine.ports import Backend, BackendGone, Slot
from rapidfire_cli.manifest.representatives import Representatives
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import AUTO, Run
from rapidfire_cli.view.audience import waiting
from rapidfire_cli.view.wording import counted

GLANCE = 0.1  # seconds between two looks at whether to stop waiting (assumed)


@dataclass(frozen=True, slots=True)
class Workplace:
    """The slots to train on, the CPU threads of each, and the backend once the workers' setups are known."""

    slots: Sequence[Slot]
    threads: int
    backend: Callable[[Callable[[Slot], Setup]], Backend]
    gpus: int = 1  # to train on once it is measured how many runs fit on one
    repacked: "Callable[[Packing], Workplace] | None" = None  # the place then; None if that is known
    packing: Packing = ALONE  # how many runs share each GPU


@contextmanager
def workplace(
    loaded: LoadedExperiment,
    asked: DeviceRequest,
    left: Sequence[Run],
    outline: Representatives,
    stop_asked: Callable[[], bool],
) -> Iterator[Workplace]:
    """The place to train the runs that are `left`. Raises Unavailable, Refusal."""
    _await_former(loaded.home, stop_asked)
    address = asked.ray or ("auto" if loaded.file.execution.backend == "ray" else None)
    if address is None and asked.insecure:
        raise Unavailable("`--insecure` is about a Ray cluster: add `--ray`")
    if address is None:
        yield _here(loaded, asked, left, outline)
        return
    with _on_cluster(address, loaded, asked, left, outline, stop_asked) as there:
        yield there


@contextmanager
def _on_cluster(
    address: str,
    loaded: LoadedExperiment,
    asked: DeviceRequest,
    left: Sequence[Run],
    outline: Representatives,
    stop_asked: Callable[[], bool],
) -> Iterator[Workplace]:
    """The nodes of the Ray cluster. Raises Unavailable, Refusal."""
    if find_spec("ray") is None:
        raise Unavailable("a Ray cluster needs the extra [ray]: pip install 'rapidfire-cli[ray]'")
    from rapidfire_cli.engine.ray.backend import RayBackend, wish

    execution = loaded.file.execution
    share = wanted(loaded.file, asked, outline.kinds)
    disk.make_directory(loaded.home.misc, below=loaded.home.path)
    connection = ExitStack()  # what closes it

    def connected(runs_per_gpu: int) -> RayBackend:
        """Connect anew."""
        connection.close()
        with waiting(f"connecting to the Ray cluster ({address})", sys.stderr, os.environ):
            wished = wish(
                address,
                loaded.home.cluster,
                insecure=asked.insecure,
                workers=(asked.workers or execution.workers) if share.is_total else None,
                threads=asked.threads or execution.threads,
                gpus=asked.gpus,
                runs_per_gpu=runs_per_gpu,
            )
            ray = RayBackend(wished, loaded.home.misc / "ray.log", stop_asked=stop_asked)
        connection.callback(ray.close)
        return ray

    def place(ray: RayBackend, packing: Packing) -> Workplace:
        hosts = {slot.host for slot in ray.slots}
        copies = f" ({len(ray.apart)} with copies of the files)" if ray.apart else ""
        workers = counted(len(ray.slots), "worker")
        print(f"{workers} on {counted(len(hosts), 'node')}{copies}", file=sys.stderr)
        return Workplace(ray.slots, ray.threads, ray.use, packing=packing)

    with connection:
        try:
            ray = connected(1 if share.runs == AUTO else share.runs)
        except BackendGone as gone:
            raise Unavailable(str(gone)) from None
        try:
            on_gpus = sum(bool(slot.visible) for slot in ray.slots)
            there = place(ray, given(share) if on_gpus else ALONE)
            for told in notes(share, ray.slots):
                print(told, file=sys.stderr)
            check_gangs(loaded.file, left, outline, ray.slots)
            if on_gpus and share.runs == AUTO:
                if on_gpus < len(ray.slots):
                    raise Unavailable(
                        f"{share.by}: `auto` measures a GPU, and some nodes have none; "
                        f"`--gpus {on_gpus}` leaves them out"
                    )
                there = replace(
                    there, gpus=on_gpus, repacked=lambda found: place(connected(found.runs), found)
                )
            yield there
        except BackendGone as gone:
            hint = "saved progress is kept; rerun the same command to continue, here or on a cluster"
            raise Unavailable(f"{gone}\nhint: {hint}") from None


def _here(
    loaded: LoadedExperiment, asked: DeviceRequest, left: Sequence[Run], outline: Representatives
) -> Workplace:
    """This machine."""
    slots, threads = seats(loaded.file, asked)
    check_gangs(loaded.file, left, outline, slots)
    share = wanted(loaded.file, asked, outline.kinds)
    advice = advised(loaded.file, asked, slots[: max(1, len(left))], threads)
    for told in (*notes(share, slots), *filter(None, [advice])):
        print(told, file=sys.stderr)
    if not any(slot.visible for slot in slots):
        return _shared(slots, threads, loaded.home, ALONE)
    if share.runs != AUTO:
        return _shared(slots, threads, loaded.home, given(share))
    first = _shared(slots[:1], threads, loaded.home, ALONE)
    return replace(first, gpus=len(slots), repacked=lambda found: _shared(slots, threads, loaded.home, found))


def _shared(slots: Sequence[Slot], threads: int, home: ExperimentDir, packing: Packing) -> Workplace:
    """These slots, each as often as the packing says."""
    places = packed(slots, packing.runs)

    def backend(setup: Callable[[Slot], Setup]) -> Backend:
        return LocalBackend(places, WORKER, {slot.index: setup(slot) for slot in places}, home.misc)

    return Workplace(places, threads, backend, packing=packing)


def _await_former(home: ExperimentDir, stop_asked: Callable[[], bool]) -> None:
    """Wait until the workers that a killed fit had on a cluster have ended: two must not write one run."""
    from rapidfire_cli.engine.ray.lease import SILENCE, remove_trace

    if not home.cluster.exists():
        return
    print(f"waiting {SILENCE:.0f} seconds for workers of a killed fit to end", file=sys.stderr)
    begun = time.monotonic()
    while time.monotonic() - begun < SILENCE:
        if stop_asked():
            return
        time.sleep(GLANCE)
    remove_trace(home.cluster)
