"""Workers and GPUs are shared out to nodes as they join, and others get what one cannot contribute."""

import pytest

from rapidfire_cli.engine.ray.room import Portion, Room


def test_each_node_contributes_all_it_has_unless_a_number_is_given():
    room = Room(workers=None, gpus=None, threads=None)
    assert room.take(cores=8, gpus=0, left=2) == Portion(workers=8, gpus=0, cores=8, threads=1)
    assert room.take(cores=8, gpus=2, left=1) == Portion(workers=None, gpus=2, cores=8, threads=4)


def test_a_number_of_workers_is_shared_out():
    room = Room(workers=3, gpus=None, threads=2)
    assert [room.take(8, 0, left) for left in (2, 1, 1)] == [
        *(Portion(workers=workers, gpus=0, cores=2 * workers, threads=2) for workers in (2, 1)),
        None,
    ]


@pytest.mark.parametrize(("gpus", "used"), [(1, [1, None]), (3, [2, 1]), (4, [2, 2])])
def test_a_number_of_gpus_is_taken_from_one_node_after_the_other(gpus, used):
    room = Room(workers=None, gpus=gpus, threads=None)
    found = [room.take(8, 2, left) for left in (2, 1)]
    assert [portion and portion.gpus for portion in found] == used
    assert room.gpus_missing == 0


def test_nodes_without_gpus_are_of_no_use_where_gpus_are_asked_for():
    room = Room(workers=None, gpus=2, threads=None)
    assert room.take(8, 0, 2) is None
    assert room.take(8, 1, 1) == Portion(None, 1, 8, 8)
    assert room.gpus_missing == 1


def test_without_gpus_nodes_train_on_their_cores():
    room = Room(workers=None, gpus=0, threads=2)
    assert room.take(8, 4, 1) == Portion(workers=4, gpus=0, cores=8, threads=2)


def test_another_node_takes_what_one_gave_back():
    room = Room(workers=2, gpus=1, threads=None)
    portion = room.take(8, 1, 1)
    assert portion and room.take(8, 1, 1) is None
    room.give_back(portion)
    assert room.take(8, 1, 1) == portion
