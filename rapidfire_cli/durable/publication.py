"""Publications: directories that appear complete or not at all, and small files that are replaced atomically.

Theory of operation. Everything durable except the journal and the logs is written by this
module: checkpoints, prepared files, final weights, manifests. A caller passes payload files (a writer for
each) and facts. Readers receive a `Published` whose bytes were all checked, or Damaged.

`publish` writes into a temporary directory beside the target: the payload, then MANIFEST.json with the size
and SHA-256 of every file and a SHA-256 of the manifest itself. It syncs the files and the directory, renames
the directory to its final name, and syncs the parent. Deletion is the reverse: rename to a trash name, sync
the parent, then delete file by file. `write` and `link` do the same for single files. `append` adds to a
small file that already exists.

Invariants, after a power loss or a kill at any moment:

- Under a final name there is a complete publication or nothing. If a disk breaks this, `verify` detects it.
- When `publish` returns, the publication is durable. If it raises, either nothing was published, or outdated
  publications could not be deleted.
- Temporary and trash names carry the ids of the process that made them and of its machine. `sweep` deletes
  those whose process is dead. It cannot know that of other machines' processes, and deletes theirs only where
  the caller is the only one that writes.
- A failed sync is an error. It is not retried, since the kernel may have dropped the data.

Why this way: a rename is the only operation that file systems guarantee to be atomic. A sync takes up to some
milliseconds, so independent syncs run in parallel. Every call goes through `disk`, where tests make it fail
or kill the process.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from rapidfire_cli.durable import disk
from rapidfire_cli.terms import Plain, canonical

MANIFEST = "MANIFEST.json"
TEMPORARY, TRASH = ".tmp-", ".trash-"  # followed by the ids of the machine and the process, as one number
DIGITS = 10  # of a machine's id; earlier versions had none
OWNED = re.compile(rf"\.(?:tmp|trash)-(\d{{{DIGITS}}})?(\d{{1,9}})-.+")

Writer = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Published:
    """A publication whose files were all checked against its manifest."""

    path: Path
    facts: dict[str, Plain]
    files: dict[str, Plain]  # size and checksum of each, by its path in the directory


class Damaged(Exception):  # noqa: N818 - a state, not a mistake
    """A publication that does not match its manifest; the argument says what is wrong."""


def publish(
    target: Path,
    payload: Mapping[str, Writer],
    facts: Mapping[str, Plain],
    above: Sequence[Path] = (),
    outdated: Callable[[], Sequence[Path]] = list,
) -> None:
    """Write each payload file with its writer and publish the directory `target`, durably and atomically.

    An existing publication with the same name is replaced. The directories `above` its own are made durable
    with it. Afterwards the publications that `outdated` returns are deleted. Raises OSError, and what a
    writer raises; then nothing was published, unless the error concerns the deletion of an outdated
    publication.
    """
    temporary = aside(target)
    _forget(temporary)
    try:
        disk.make_directory(target.parent)
        disk.make_temporary(temporary)
        for name, write_payload in payload.items():
            write_payload(temporary / name)
        with disk.create(temporary / MANIFEST) as manifest:
            manifest.write(_proof(facts, {name: _measure(temporary / name) for name in payload}))
        disk.permit_as(temporary / MANIFEST, *(temporary / name for name in payload))
        disk.sync(*(temporary / name for name in (*payload, MANIFEST)), temporary)
        if target.exists():  # a damaged publication that was skipped
            remove(target)
        disk.rename(temporary, target)
        trash = [*map(_out_of_sight, outdated())]
        disk.sync(target.parent, *above)
    except BaseException:
        _forget(temporary)  # leave no additional files on a full disk
        raise
    for each in trash:
        disk.discard(each)


@contextmanager
def draft(target: Path) -> Iterator[Path]:
    """Create a directory that the block fills; it is deleted at the end unless `issue` publishes it."""
    temporary = aside(target)
    _forget(temporary)
    try:
        disk.make_temporary(temporary)
        yield temporary
    finally:
        _forget(temporary)


def measured(directory: Path) -> dict[str, Plain]:
    """Return the size and checksum of each file in a draft, by path. Raises OSError for a symbolic link."""
    files = sorted(path for path in directory.rglob("*") if not path.is_dir() or path.is_symlink())
    return {path.relative_to(directory).as_posix(): _measure(path) for path in files}


def issue(filled: Path, target: Path, files: Mapping[str, Plain], facts: Mapping[str, Plain]) -> None:
    """Publish a draft with its `measured` files, replacing an existing publication. Raises OSError."""
    with disk.create(filled / MANIFEST) as manifest:
        manifest.write(_proof(facts, files))
    disk.permit_as(filled / MANIFEST, *(filled / name for name in files))
    directories = [path for path in filled.rglob("*") if path.is_dir()]
    disk.sync(*(filled / name for name in (*files, MANIFEST)), *directories, filled)
    if target.exists():
        remove(target)
    disk.rename(filled, target)
    disk.sync(target.parent)


def verify(path: Path) -> Published:
    """Check every byte of the publication at `path`. Raises Damaged if one is missing, added or changed."""
    published = claimed(path)
    try:
        for name, measure in published.files.items():
            if not _lies_in(path, name) or _measure(path / name) != measure:
                raise Damaged(f"{path.name}: {name} has a wrong checksum")
    except OSError as error:
        raise Damaged(f"{path.name}: {_unreadable(path, error)}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise Damaged(f"{path.name}: {MANIFEST} is damaged") from error
    return published


def claimed(path: Path) -> Published:
    """Read and check the manifest of the publication at `path`, but not its files. Raises Damaged."""
    try:
        text = (path / MANIFEST).read_bytes()
        proof = json.loads(text)
        files, facts = proof["files"], proof["facts"]
        if text != _proof(facts, files):
            raise Damaged(f"{path.name}: {MANIFEST} has a wrong checksum")
    except OSError as error:
        raise Damaged(f"{path.name}: {_unreadable(path, error)}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{path.name}: {MANIFEST} is damaged") from error
    return Published(path, facts, files)


def _unreadable(directory: Path, error: OSError) -> str:
    """Describe why a file of a publication cannot be read: `state.pt is missing`."""
    file = Path(str(error.filename or directory))
    name = file.relative_to(directory).as_posix() if file.is_relative_to(directory) else file.name
    if isinstance(error, FileNotFoundError):
        return f"{name} is missing"
    return f"{name} cannot be read: {error.strerror or error}"


def _lies_in(directory: Path, name: str) -> bool:
    """Whether the name is a path inside the directory, without links that lead out of it."""
    path = PurePosixPath(name)
    plain = not path.is_absolute() and ".." not in path.parts and path.as_posix() == name
    return plain and not any((directory / parent).is_symlink() for parent in path.parents)


def equal(file: Path, published: Published, name: str) -> bool:
    """Whether a file has the same bytes as a payload file of the publication."""
    return _measure(file) == _measure(published.path / name)


def remove(path: Path) -> None:
    """Delete a publication atomically: it is never visible half deleted."""
    trash = _out_of_sight(path)
    disk.sync(path.parent)
    disk.discard(trash)


def write(path: Path, text: str) -> None:
    """Replace a small file, atomically and durably."""
    temporary = aside(path)
    _forget(temporary)
    try:
        with disk.create(temporary) as file:
            file.write(text.encode())
        disk.sync(temporary)
        disk.rename(temporary, path)
        disk.sync(path.parent)
    except BaseException:
        _forget(temporary)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write; it replaces the one at `path` at the end, unless the block raises an error.

    The unfinished files of processes that were killed are deleted. Raises OSError.
    """
    temporary = aside(path)
    for left in (temporary, *_abandoned(path.parent)):
        if left.name.endswith(f"-{path.name}"):
            _forget(left)
    try:
        with disk.create(temporary) as file:
            yield cast("BinaryIO", file)
        disk.sync(temporary)
        disk.rename(temporary, path)
        disk.sync(path.parent)
    except BaseException:
        _forget(temporary)
        raise


def append(path: Path, text: str) -> None:
    """Append a line to a file, durably. Raises OSError; then the file may end with part of the line."""
    disk.add(path, text.encode())
    disk.sync(path)


def twin(source: Path, target: Path) -> None:
    """Publish the same files under a second name, durably, with shared bytes. Raises OSError.

    If `source` is deleted in the meantime, this raises OSError too, and nothing is published.
    """
    if target.exists():
        return
    disk.make_directory(target.parent)
    with draft(target) as filled:
        for file in sorted(source.iterdir()):
            share(file, filled / file.name)
        disk.sync(filled)
        disk.rename(filled, target)
        disk.sync(*target.parents[:3])


def link(names: Mapping[Path, Path], outdated: Sequence[Path] = ()) -> None:
    """Give published payload files second names, durably, with shared bytes; `names` are sources by target.

    `outdated` publications are deleted with the same sync.
    """
    for target, source in names.items():
        temporary = aside(target)
        _forget(temporary)
        try:
            share(source, temporary)
            disk.rename(temporary, target)
        finally:
            _forget(temporary)  # a rename between two names of one file leaves both
    trash = [*map(_out_of_sight, outdated)]
    disk.sync(*dict.fromkeys(path.parent for path in (*names, *trash)))
    for each in trash:
        disk.discard(each)


def sweep(directory: Path, alone: bool = False) -> None:
    """Delete the leftovers of dead processes: files that they were writing or deleting.

    Those of other machines too if the caller is `alone`, the only one that writes in the directory.
    """
    for path in _abandoned(directory, alone):
        _delete(path)


def _out_of_sight(path: Path) -> Path:
    """Rename a path to a trash name; once that is durable, it can be deleted file by file."""
    trash = aside(path, TRASH)
    _forget(trash)
    disk.rename(path, trash)
    return trash


def share(source: Path, target: Path) -> None:
    """Give a file a second name with a hard link, or copy it if the file system does not support links."""
    try:
        disk.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV):
            raise
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as original, disk.create(target) as file:
        shutil.copyfileobj(original, file)
    disk.sync(target)


def copy_tree(source: Path, target: Path, own: str) -> None:
    """Give a directory's files second names in a draft; those called `own`, which grow, are copied.

    Raises OSError, also for a symbolic link.
    """
    disk.make_directory(target, lasting=False)
    directories = [target]
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        disk.refuse_links(path)
        if path.is_dir():
            disk.make_directory(place, lasting=False)
            directories.append(place)
        elif path.name.startswith(own):
            _copy(path, place)
        else:
            share(path, place)
    disk.sync(*directories)


def _abandoned(directory: Path, alone: bool = False) -> Iterator[Path]:
    with suppress(FileNotFoundError):
        for path in sorted(directory.iterdir()):
            if owner := OWNED.fullmatch(path.name):
                is_here = owner[1] in (None, machine())
                if not _is_alive(owner[2]) if is_here else alone:
                    yield path


@cache
def machine() -> str:
    """The id of what gives processes their ids: this machine since its start, or a container on it."""
    try:
        started = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
        seen = f"{started} {os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - a namespace
    except OSError:
        seen = os.uname().nodename
    digest = int.from_bytes(hashlib.sha256(seen.encode()).digest()[:8], "big")
    return f"{digest % 10**DIGITS:0{DIGITS}d}"


def _is_alive(process: str) -> bool:
    """Whether the process can still write; a zombie cannot, although it is listed."""
    try:
        _, _, rest = Path("/proc", process, "stat").read_text("utf-8", "replace").rpartition(")")
    except OSError:
        return False
    return rest.split()[0] not in ("Z", "X")


def aside(path: Path, prefix: str = TEMPORARY) -> Path:
    """Return an unused name beside `path`, which `sweep` deletes after this process has ended."""
    return path.with_name(f"{prefix}{machine()}{os.getpid()}-{path.name}")


def intended(path: str) -> str:
    """The path with the name that a file gets when it is complete."""
    return re.sub(rf"{re.escape(TEMPORARY)}\d+-", "", path)


def _forget(temporary: Path) -> None:
    """Delete an unfinished file or directory as far as possible; `sweep` deletes the rest."""
    with suppress(OSError):
        _delete(temporary)


def _delete(path: Path) -> None:
    """Delete a file, a link or a directory if it exists."""
    if path.is_dir() and not path.is_symlink():
        disk.discard(path)
    elif os.path.lexists(path):
        disk.unlink(path)


def _proof(facts: Mapping[str, Plain], files: Mapping[str, Plain]) -> bytes:
    """Return the content of the manifest: canonical JSON that includes its own SHA-256."""
    said: dict[str, Plain] = {"facts": dict(facts), "files": dict(files)}
    digest = hashlib.sha256(canonical(said).encode()).hexdigest()
    return canonical({**said, "sha256": digest}).encode()


def _measure(path: Path) -> Plain:
    """Return the size and SHA-256 of a payload file. Raises OSError."""
    with open(os.open(path, os.O_RDONLY | disk.OWN), "rb") as file:  # noqa: PTH123 - follows no link
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"sha256": digest, "size": file.tell()}
