"""Power may fail between any two calls, on a disk that keeps what was synced and anything of the rest.

The calls are recorded while the real code publishes, deletes, links and replaces; each state that the disk
may wake up in is laid out for real and read by the real code.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidfire_cli.durable import disk, publication
from rapidfire_cli.durable.publication import Damaged
from tests.durable.power import Disk, Recorder, State, Step, lay

FINAL = "model of checkpoint 3" * 9
OLD, NEW = "the first text", "the second text, which is longer"


def payload(number: int) -> dict[str, publication.Writer]:
    def writer(name: str) -> publication.Writer:
        def write(path: Path) -> None:
            with disk.create(path) as file:
                file.write(f"{name} of checkpoint {number}".encode() * 9)

        return write

    return {name: writer(name) for name in ("model", "state")}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> tuple[Path, Recorder]:
    """The life of a run: three checkpoints, the first deleted, the last damaged and written again."""
    root = tmp_path_factory.mktemp("disk")
    checkpoints = root / "runs" / "1" / "checkpoints"
    with Recorder() as recorder:
        for number in (1, 2, 3, 3):
            target = checkpoints / f"step-{number}"
            recorder.said("publishing", target)
            publication.publish(target, payload(number), {"step": number})
            recorder.said("published", target)
        recorder.said("removing", checkpoints / "step-1")
        publication.remove(checkpoints / "step-1")
        publication.link(checkpoints / "step-3" / "model", root / "runs" / "1" / "final")
        recorder.said("published", root / "runs" / "1" / "final")
        publication.write(root / "manifest", OLD)
        recorder.said("published", root / "manifest")
        recorder.said("replacing", root / "manifest")
        publication.write(root / "manifest", NEW)
        recorder.said("published", root / "manifest")
    return root, recorder


def woken(root: Path, recorder: Recorder, steps: list[Step]) -> Iterator[tuple[State, dict[Path, str]]]:
    """Every state in which the disk may wake up at some point, and what was promised by then."""
    honest = Disk(root, recorder.bytes)
    promised: dict[Path, str] = {}  # what files hold; nothing of directories
    seen: set[str] = set()
    for operation, (path, *more) in steps:
        match operation:
            case "published":
                promised[path.relative_to(root)] = more[0].name if more else ""
            case "replacing":
                promised[path.relative_to(root)] = ""
            case "publishing" | "removing":
                promised.pop(path.relative_to(root), None)
            case _:
                honest.do(operation, (path, *more))
        for state in honest.states():
            if (key := f"{state}{promised}") not in seen:
                seen.add(key)
                yield state, dict(promised)


def wrongs(state: State, promised: dict[Path, str], place: Path) -> Iterator[str]:
    """What is wrong with a state, as the real code reads it."""
    shutil.rmtree(place, ignore_errors=True)
    lay(state, place)
    for path, text in promised.items():
        if not (place / path).exists() or (text and (place / path).read_text() != text):
            yield f"{path} is lost"
    for checkpoint in place.glob("runs/1/checkpoints/step-*"):
        try:
            publication.verify(checkpoint)
        except Damaged as damage:
            yield str(damage)
    for path, texts in {"runs/1/final": [FINAL], "manifest": [OLD, NEW]}.items():
        if (place / path).exists() and (place / path).read_text() not in texts:
            yield f"{path} is torn"


def test_whenever_the_power_fails_nothing_is_damaged_and_nothing_acknowledged_is_lost(recorded, tmp_path):
    states = list(woken(*recorded, recorded[1].steps))
    assert len(states) > 200
    for state, promised in states:
        assert not list(wrongs(state, promised, tmp_path / "woken"))


def test_without_any_one_sync_something_would_be(recorded, tmp_path):
    taken = recorded[1].steps
    syncs = [at for at, (operation, _) in enumerate(taken) if operation == "sync"]
    assert len(syncs) == 30
    for at in syncs:
        steps = taken[:at] + taken[at + 1 :]
        found = (wrongs(state, promised, tmp_path / "woken") for state, promised in woken(*recorded, steps))
        assert any(map(any, found)), f"{taken[at]} could be left out"
