"""A run's publications, deletions, links and replacements, recorded; and what is wrong with a disk after.

The calls are recorded while the real code makes them; each state that the disk may wake up in is laid out for
real and read by the real code.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from rapidfire_cli.durable import disk, publication
from rapidfire_cli.durable.publication import Damaged
from tests.durable.power import Disk, Recorder, State, Step, lay

FINAL = "model of checkpoint 3" * 9
OLD, NEW = "the first text", "the second text, which is longer"


def recorded(root: Path) -> Recorder:
    """The life of a run: three checkpoints, the first deleted, the last damaged and written again."""
    home = root / "runs" / "1"
    with Recorder() as recorder:
        for number in (1, 2, 3, 3):
            target = home / f"step-{number}"
            recorder.said("publishing", target)
            publication.publish(target, payload(number), {"step": number})
            recorder.said("published", target)
        recorder.said("removing", home / "step-1")
        publication.remove(home / "step-1")
        publication.link({home / "final": home / "step-3" / "model"})
        recorder.said("published", home / "final")
        publication.write(root / "manifest", OLD)
        recorder.said("published", root / "manifest")
        recorder.said("replacing", root / "manifest")
        publication.write(root / "manifest", NEW)
        recorder.said("published", root / "manifest")
    return recorder


def payload(number: int) -> dict[str, publication.Writer]:
    def writer(name: str) -> publication.Writer:
        def write(path: Path) -> None:
            with disk.create(path) as file:
                file.write(f"{name} of checkpoint {number}".encode() * 9)

        return write

    return {name: writer(name) for name in ("model", "state")}


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
    for checkpoint in place.glob("runs/1/step-*"):
        try:
            publication.verify(checkpoint)
        except Damaged as damage:
            yield str(damage)
    for path, texts in {"runs/1/final": [FINAL], "manifest": [OLD, NEW]}.items():
        if (place / path).exists() and (place / path).read_text() not in texts:
            yield f"{path} is torn"


def without(steps: list[Step], sync: int) -> list[Step]:
    """The steps, less the so many-th sync."""
    at = syncs(steps)[sync]
    return steps[:at] + steps[at + 1 :]


def syncs(steps: list[Step]) -> list[int]:
    """Where something is synced."""
    return [at for at, (operation, _) in enumerate(steps) if operation == "sync"]


def noticed(root: Path, recorder: Recorder, steps: list[Step], place: Path) -> bool:
    """Whether something would be wrong in some state."""
    return any(any(wrongs(state, promised, place)) for state, promised in woken(root, recorder, steps))
