"""A sharded run trains as one on one device does, whatever is special about it, and however it is stopped."""

from typing import Any

import pytest

from tests.shares import WHOLE, share
from tests.training.gang_processes import printed_by_ranks
from tests.training.gang_specs import CASES, SHARDED
from tests.training.sharded_rank import SIZES, STOPPED

NAMES = share([*reversed(SHARDED)], 18)
STOPS = 200 if WHOLE else 3


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[Any]:
    """What each of three ranks found."""
    home = tmp_path_factory.mktemp("ranks")
    return printed_by_ranks("tests.training.sharded_rank", 3, home, f"{STOPS}", *NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_two_devices_that_share_a_model_have_the_losses_and_metrics_of_one(ranks, name):
    together, alone = ranks[0]["cases"][name]
    assert len(together) == len(alone) == CASES[name][1]["train"]["epochs"]
    rounding = 0.1 if "bfloat16" in name else 1e-5  # bfloat16 has 8 bits
    for ours, theirs in zip(together, alone, strict=True):
        assert ours == pytest.approx(theirs, abs=rounding)


def test_only_rank_0_reports(ranks):
    assert not any(together for together, _ in ranks[1]["cases"].values())


@pytest.mark.parametrize("how", STOPPED)
def test_a_run_that_stops_at_random_marks_ends_with_the_bits_of_one_that_does_not(ranks, how):
    whole, *stopped = ranks[0]["stopped"][how]
    assert stopped and {*stopped} == {whole} != {"unfinished"}


@pytest.mark.parametrize("name", SIZES)
def test_a_run_continues_on_another_number_of_devices_within_rounding_and_says_so(ranks, name):
    epochs, log = ranks[0]["resized"][name]
    before, now = SIZES[name]
    assert f"the number of devices changed from {before} to {now}: not bit for bit the same" in log
    assert len(epochs) == 2
    for ours, theirs in zip(epochs, ranks[0]["one"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
