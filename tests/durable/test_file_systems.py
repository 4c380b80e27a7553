"""Which file systems belong to this machine alone."""

import pytest

from rapidfire_cli.durable.file_systems import is_local, kind_of

MOUNTS = r"""
overlay / overlay rw 0 0
tmpfs /tmp tmpfs rw 0 0
server:/export /tmp/shared nfs4 rw 0 0
server:/export /with\040space lustre rw 0 0
/dev/sda1 /covered ext4 rw 0 0
server:/export /covered nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/somewhere", "overlay"),
        ("/tmp/mine", "tmpfs"),
        ("/tmp/shared", "nfs4"),
        ("/tmp/shared/deep/inside", "nfs4"),
        ("/tmp/shared-not", "tmpfs"),
        ("/with space/x", "lustre"),
        ("/covered/x", "nfs"),
    ],
)
def test_the_last_of_the_longest_mount_points_counts(tmp_path, place, kind):
    (mounts := tmp_path / "mounts").write_text(MOUNTS.lstrip())
    assert kind_of(tmp_path / place, mounts) == kind


def test_the_file_system_behind_a_link_counts(tmp_path):
    (mounts := tmp_path / "mounts").write_text(f"x / ext4 rw 0 0\nx {tmp_path}/far nfs rw 0 0\n")
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to("far")
    assert kind_of(tmp_path / "near", mounts) == "nfs"


def test_a_machine_that_does_not_say_is_unknown(tmp_path):
    assert kind_of(tmp_path, tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("kind", "local"),
    [("ext4", True), ("tmpfs", True), ("nfs4", False), ("fuse.sshfs", False), ("9p", False), ("", False)],
)
def test_only_kinds_that_are_known_to_be_local_are(kind, local):
    assert is_local(kind) is local
