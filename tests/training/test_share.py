"""The rows of a batch that each rank of a gang trains."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rapidfire_cli.training.batches import cut
from rapidfire_cli.training.share import WHOLE, Share

ALL = st.integers(0, 40), st.integers(1, 9), st.integers(1, 4)


@given(*ALL)
def test_the_ranks_have_every_row_of_every_batch_once_and_in_order(rows, batch, size):
    every = torch.randperm(rows)
    parts = [Share(rank, size).rows(every, batch) for rank in range(size)]
    for begin, whole in zip(range(0, rows, batch), cut(every, batch), strict=True):
        counts = [Share(rank, size).of(len(whole)) for rank in range(size)]
        assert counts == [len(part) for part in torch.tensor_split(whole, size)]
        taken = [part[:count] for part, count in zip(parts, counts, strict=True)]
        assert torch.cat(taken).equal(whole), begin
        parts = [part[count:] for part, count in zip(parts, counts, strict=True)]
    assert not any(map(len, parts))


@given(*ALL)
def test_a_rank_has_parts_of_one_size_until_the_last_batch(rows, batch, size):
    share = Share(size - 1, size)
    own = share.rows(torch.arange(rows), batch)
    if share.of(batch):
        sizes = [len(part) for part in cut(own, share.of(batch))]
        assert all(part == share.of(batch) for part in sizes[: rows // batch])


def test_a_run_on_one_device_has_all_rows_and_no_two_ranks_number_their_batches_alike():
    rows = torch.arange(5)
    assert WHOLE.rows(rows, 2) is rows and WHOLE.of(5) == 5 and WHOLE.numbered(7) == 7
    assert len({Share(rank, 3).numbered(first) for rank in range(3) for first in range(9)}) == 27
