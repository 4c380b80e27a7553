"""The kinds of file systems, and which of them belong to this machine alone.

SQLite's write-ahead log needs memory that all processes which open a journal share. On a file system of
another machine there is none, so the journal must be written differently there (`store.connection`).
"""

import re
from pathlib import Path

_DISKS = ("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "reiserfs", "xfs", "zfs")
LOCAL = frozenset((*_DISKS, "overlay", "tmpfs"))
"""Those that no other machine can have mounted; all others, also unknown ones, count as shared."""

MOUNTS = Path("/proc/self/mounts")
_OCTAL = re.compile(r"\\([0-7]{3})")


def kind_of(place: Path, mounts: Path = MOUNTS) -> str:
    """The kind of the file system of an existing place, as the kernel names it; empty if unknown."""
    kind, longest, place = "", -1, place.resolve()
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, mount, its, *_ = line.split(" ")
        mount = _OCTAL.sub(lambda escaped: chr(int(escaped[1], 8)), mount)
        if place.is_relative_to(mount) and len(mount) >= longest:  # a later one covers an earlier one
            kind, longest = its, len(mount)
    return kind


def is_local(kind: str) -> bool:
    """Whether a file system of this kind is certainly used by this machine alone."""
    return kind in LOCAL
