"""Where a fit trains: on this machine, or on the nodes of a Ray cluster."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    if find_spec("ray") is None:
        raise Unavailable("a Ray cluster needs the extra [ray]: pip install 'rapidfire-cli[ray]'")
    from rapidfire_cli.engine.ray.backend import RayBackend, wish

    execution = loaded.file.execution
    share = wanted(loaded.file, asked, outline.kinds)
    if share.runs == AUTO:
        raise Unavailable(f"{share.by}: `auto` is not available on a Ray cluster; use a number")
    workers, threads = asked.workers or execution.workers, asked.threads or execution.threads
    disk.make_directory(loaded.home.misc, below=loaded.home.path)
    log = loaded.home.misc / "ray.log"
    try:
        with waiting(f"connecting to the Ray cluster ({address})", sys.stderr, os.environ):
            wished = wish(
                address,
                loaded.home.cluster,
                insecure=asked.insecure,
                workers=workers if share.is_total else None,
                threads=threads,
                gpus=asked.gpus,
                runs_per_gpu=share.runs,
            )
            ray = RayBackend(wished, log, stop_asked=stop_asked)
    except BackendGone as gone:
        raise Unavailable(str(gone)) from None
    try:
        hosts = {slot.host for slot in ray.slots}
        copies = f" ({len(ray.apart)} with copies of the files)" if ray.apart else ""
        print(
            f"{counted(len(ray.slots), 'worker')} on {counted(len(hosts), 'node')}{copies}", file=sys.stderr
        )
        for told in notes(share, ray.slots):
            print(told, file=sys.stderr)
        check_gangs(loaded.file, left, outline, ray.slots)
        on_gpus = any(slot.visible for slot in ray.slots)
        yield Workplace(ray.slots, ray.threads, ray.use, packing=given(share) if on_gpus else ALONE)
    except BackendGone as gone:
        raise Unavailable(
            f"{gone}\nhint: saved progress is kept; rerun the same command to continue, here or on a cluster"
        ) from None
    finally:
        ray.close()


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
