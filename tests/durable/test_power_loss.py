"""Power may fail between any two calls, on a disk that keeps what was synced and anything of the rest."""

from pathlib import Path

import pytest

from tests.durable.power import Recorder
from tests.durable.publishing import noticed, recorded, syncs, without, woken, wrongs
from tests.shares import share


@pytest.fixture(scope="module")
def life(tmp_path_factory) -> tuple[Path, Recorder]:
    root = tmp_path_factory.mktemp("disk")
    return root, recorded(root)


def test_whenever_the_power_fails_nothing_is_damaged_and_nothing_acknowledged_is_lost(life, tmp_path):
    states = list(woken(*life, life[1].steps))
    assert len(states) > 200
    for state, promised in states:
        assert not list(wrongs(state, promised, tmp_path / "woken"))


def test_without_any_one_sync_something_would_be(life, tmp_path):
    steps = life[1].steps
    assert len(syncs(steps)) > 20
    for sync, at in share(enumerate(syncs(steps)), 4):
        assert noticed(*life, without(steps, sync), tmp_path / "woken"), f"{steps[at]} could be left out"
