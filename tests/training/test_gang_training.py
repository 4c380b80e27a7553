"""A gang trains as one device does, whatever is special about the run."""

import pytest

from tests.training.gang_processes import printed_by_ranks
from tests.training.gang_specs import CASES, SHARDED

TRIED = tuple(name for name in CASES if name not in SHARDED)

pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, list[list[dict[str, float]]]]:
    """The metrics of each case's epochs, trained by two ranks and by one device."""
    home = tmp_path_factory.mktemp("ranks")
    first, second = printed_by_ranks("tests.training.gang_rank", 2, home, *TRIED)
    assert not any(together for together, _ in second.values())
    return first


@pytest.mark.parametrize("case", TRIED)
def test_two_devices_have_the_losses_and_metrics_of_one(trained, case):
    together, alone = trained[case]
    assert len(together) == len(alone) == CASES[case][1]["train"]["epochs"]
    for ours, theirs in zip(together, alone, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
