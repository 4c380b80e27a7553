"""What the ranks of a gang tell each other; here each rank is a thread."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from rapidfire_cli.engine.messages import Rank
from rapidfire_cli.training.gang import BUCKET, Gang, Lost

SIZE = 3


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Callable[[Callable[[Gang], Any]], list[Any]]:
    """Calls a function with each rank's view of one gang, at the same time."""
    place: Path = tmp_path_factory.mktemp("gang") / "gangs"
    with ThreadPoolExecutor(SIZE) as threads:
        ranks = [Rank(rank, SIZE, "1") for rank in range(SIZE)]
        gangs = [*threads.map(lambda rank: Gang(rank, place, torch.device("cpu")), ranks)]
        assert place.stat().st_mode & 0o777 == 0o700
        yield lambda function: [*threads.map(function, gangs)]
    for gang in gangs:
        gang.close()


def test_every_rank_does_what_rank_0_decides(together):
    assert together(lambda gang: gang.agree(7 + gang.share.rank)) == [7, 7, 7]


@pytest.mark.parametrize("size", [1, 5000, 100])
def test_every_rank_receives_the_value_of_each_however_large(together, size):
    def told(gang: Gang) -> list[Any]:
        rank = gang.share.rank
        return gang.exchange({"rank": rank, "rows": torch.full((size * rank,), float(rank)), "none": None})

    for received in together(told):
        assert [each["rank"] for each in received] == [0, 1, 2]
        for rank, each in enumerate(received):
            assert each["rows"].equal(torch.full((size * rank,), float(rank)))


def test_a_message_that_no_rank_wrote_is_not_unpickled(together, monkeypatch):
    """Every user of the machine can connect to the loopback interface."""

    def forged(gang: Gang) -> str:
        if gang.share.rank == 1:
            monkeypatch.setattr(gang, "_key", b"guessed")
        with pytest.raises(Lost) as lost:
            gang.exchange("a value")
        return lost.value.cause

    assert {*together(forged)} == {"received a message that no rank of the gang wrote"}


def test_tensors_of_all_shapes_and_types_are_summed_in_place(together):
    def summed(gang: Gang) -> list[torch.Tensor]:
        rank = gang.share.rank + 1
        tensors = [
            torch.full((2, 3), 1.0 * rank),
            torch.full((4,), rank, dtype=torch.float64),
            torch.full((3, 2), 2.0 * rank).t(),
            torch.full((BUCKET // 4 + 1,), 1.0 * rank),
        ]
        gang.total(tensors)
        return tensors

    for tensors in together(summed):
        assert [float(each.min()) for each in tensors] == [6, 6, 12, 6]
        assert [float(each.max()) for each in tensors] == [6, 6, 12, 6]
        assert tensors[2].shape == (2, 3) and tensors[1].dtype is torch.float64


def test_tensors_take_the_values_of_rank_0(together):
    def spread(gang: Gang) -> float:
        tensor = torch.tensor([5.0 + gang.share.rank])
        gang.spread([tensor])
        return float(tensor)

    assert together(spread) == [5.0, 5.0, 5.0]


def test_a_rank_whose_decisions_nobody_makes_or_reads_is_lost(tmp_path):
    for closed, waits in ((0, 1), (1, 0)):
        ranks = [Rank(rank, 2, f"{closed}") for rank in (0, 1)]
        with ThreadPoolExecutor(2) as threads:
            gangs = [*threads.map(lambda rank: Gang(rank, tmp_path / "gangs", torch.device("cpu")), ranks)]
        gangs[closed].close()
        with pytest.raises(Lost):
            gangs[waits].agree(1)
        gangs[waits].close()


def test_no_rank_is_lost_while_all_live(together):
    assert together(lambda gang: gang.has_lost()) == [False, False, False]


def test_libraries_find_no_default_process_group(together):
    assert not torch.distributed.is_initialized()
