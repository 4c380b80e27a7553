"""GPUs make slots when there are any; else the CPU is shared out."""

import pytest

from rapidfire_cli.engine.slots import Offer, slots, visible_gpus


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
