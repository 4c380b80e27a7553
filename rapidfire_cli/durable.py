"""All durable I/O: directories published whole or not at all, and the experiment's lock.

A publication is a directory whose MANIFEST.json, written last, names every payload file with its size and
SHA-256. It appears under its final name by one rename, after everything in it has reached the disk. A reader
trusts nothing that the manifest does not prove.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rapidfire_cli.terms import Plain, canonical

MANIFEST = "MANIFEST.json"
TEMPORARY = ".tmp-"  # prefix of a directory that is being written

FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux: type, whence, start, length, pid (fcntl(2))
WHOLE_FILE = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)

Writer = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Published:
    """A publication whose every byte was checked against its manifest."""

    path: Path
    facts: dict[str, Plain]


class Damaged(Exception):  # noqa: N818 - a state, not a mistake
    """A publication that its manifest does not prove; its argument says what is wrong."""


class Held(Exception):  # noqa: N818 - a state, not a mistake
    """Another process holds the lock; its argument is what that process wrote about itself."""


def publish(target: Path, payload: Mapping[str, Writer], facts: Mapping[str, Plain]) -> None:
    """Write each payload file by its writer and make the directory `target` appear, durably and at once.

    A publication already there under the same name is replaced. Raises OSError; then `target` is untouched.
    """
    temporary = target.with_name(f"{TEMPORARY}{target.name}")
    _discard(temporary)
    temporary.mkdir(parents=True)
    files: dict[str, Plain] = {}
    for name, write in payload.items():
        write(temporary / name)
        files[name] = _measure(temporary / name)
        sync(temporary / name)
    (temporary / MANIFEST).write_text(canonical({"facts": dict(facts), "files": files}), encoding="utf-8")
    sync(temporary / MANIFEST)
    sync(temporary)
    _discard(target)
    temporary.rename(target)
    sync(target.parent)


def verify(path: Path) -> Published:
    """The publication at `path`. Raises Damaged when a byte is missing, added or changed."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        files, facts = manifest["files"], manifest["facts"]
        for name, measure in files.items():
            if _measure(path / name) != measure:
                raise Damaged(f"{path / name} is not what was written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{path}: {error}") from error
    return Published(path, facts)


def sync(path: Path) -> None:
    """Force a file's bytes, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, text: str) -> None:
    """Replace a small file whole and durably."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    temporary.write_text(text, encoding="utf-8")
    sync(temporary)
    temporary.rename(path)
    sync(path.parent)


def link(source: Path, target: Path) -> None:
    """Give a published payload file a second name, durably; the bytes are shared, not copied."""
    temporary = target.with_name(f"{TEMPORARY}{target.name}")
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(source)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        shutil.copyfile(source, temporary)
        sync(temporary)
    temporary.rename(target)
    sync(target.parent)


def remove(path: Path) -> None:
    """Delete a publication: out of sight by one rename first, so that it is never seen half gone."""
    trash = path.with_name(f"{TEMPORARY}gone-{path.name}")
    _discard(trash)
    path.rename(trash)
    _discard(trash)


@contextmanager
def lock(path: Path, holder: str) -> Iterator[None]:
    """Hold the kernel's lock on a file that is never deleted; it falls with the process, however that ends.

    Raises Held at once when another process has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, WHOLE_FILE)
        except (BlockingIOError, PermissionError):
            raise Held(_holder(descriptor)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock; asking disturbs nobody."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, WHOLE_FILE)
    finally:
        os.close(descriptor)
    kind: int = struct.unpack(FLOCK, answer)[0]
    return kind != fcntl.F_UNLCK


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 4096, 0).decode(errors="replace").strip()


def _measure(path: Path) -> Plain:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"sha256": digest, "size": file.tell()}


def _discard(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
