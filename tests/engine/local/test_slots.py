"""GPUs make slots when there are any; else the CPU is shared out."""

import os

import pytest

from rapidfire_cli.engine.local.slots import Offer, cores, missing_gpus, slots, visible_gpus


@pytest.mark.parametrize(
    ("named", "present", "expected"),
    [
        (None, 2, ("0", "1")),
        (None, 0, ()),
        ("", 2, ()),
        ("-1", 2, ()),
        ("1", 2, ("1",)),
        ("2, 0", 4, ("2", "0")),
        ("GPU-8f2a,GPU-77c1", 2, ("GPU-8f2a", "GPU-77c1")),
        ("0", 0, ()),
        ("1,2,0", 2, ("1",)),
        ("GPU-8f2a", 0, ()),
        ("NoDevFiles", 2, ()),
        ("none", 0, ()),
        ("0,-1,1", 2, ("0",)),
    ],
)
def test_the_parents_visible_devices_are_the_pool(named, present, expected):
    environment = {} if named is None else {"CUDA_VISIBLE_DEVICES": named}
    assert visible_gpus(environment, present) == expected


def test_the_cpu_is_shared_out_by_threads():
    assert len(slots(Offer(8, ()), workers=None, threads=2)) == 4
    assert len(slots(Offer(1, ()), workers=None, threads=2)) == 1
    assert [slot.visible for slot in slots(Offer(2, ()), workers=3, threads=1)] == ["", "", ""]


def test_every_gpu_is_a_slot_and_more_workers_share_them():
    two = slots(Offer(8, ("4", "5")), workers=None, threads=1)
    assert [(slot.visible, slot.share) for slot in two] == [("4", 1.0), ("5", 1.0)]
    three = slots(Offer(8, ("4", "5")), workers=3, threads=1)
    assert [(slot.visible, slot.share) for slot in three] == [("4", 0.5), ("5", 1.0), ("4", 0.5)]


@pytest.mark.parametrize(
    ("named", "present", "expected"),
    [
        ("0,1", 0, ("0", "1")),
        ("0,3", 2, ("3",)),
        ("GPU-8f2a", 0, ("GPU-8f2a",)),
        ("all", 2, ("all",)),
        ("", 0, ()),
        ("-1", 2, ()),
        ("NoDevFiles", 0, ()),
    ],
)
def test_what_is_named_and_not_there_is_known(named, present, expected):
    assert missing_gpus({"CUDA_VISIBLE_DEVICES": named}, present) == expected


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/job/step\n", "sys/fs/cgroup/job/cpu.max": "150000 100000\n"},
        {"proc/self/cgroup": "0::/not/seen/from/here\n", "sys/fs/cgroup/cpu.max": "199999 100000\n"},
        {
            "proc/self/cgroup": "3:cpu,cpuacct:/job\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "20000 100000\n"},
    ],
)
def test_a_quota_of_processor_time_bounds_the_processors(tmp_path, files, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert cores(tmp_path) == 3
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores(tmp_path) == 1


def test_no_quota_leaves_every_processor(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("max 100000\n")
    assert cores(tmp_path) == len(os.sched_getaffinity(0))
