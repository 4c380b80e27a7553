"""A seeded share of the campaigns, and the whole of them on demand."""

import math

import pytest

from tests.campaign.__main__ import campaign
from tests.campaign.kills import Reference, chain, reference, storm
from tests.campaign.report import kept
from tests.campaign.starts import crowd


@pytest.fixture(scope="module")
def known() -> Reference:
    return reference()


def test_killed_at_random_the_sweep_ends_with_the_same_bits(known):
    outcome = storm(10_000, known, kills=4)
    assert outcome.failures == []


def test_killed_during_recovery_three_times_in_a_row_the_sweep_ends_with_the_same_bits(known):
    assert chain(10_000, known).failures == []


def test_of_many_simultaneous_starts_one_wins_and_the_others_name_it():
    assert crowd(10_000, size=10).failures == []


@pytest.mark.campaign
def test_all_of_it():
    campaign(math.inf, [])
    assert [trial for trial in kept() if trial["failures"]] == []
