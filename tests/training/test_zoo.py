"""Random models: trained undisturbed, or stopped anywhere and moved, they end with the same bits.

Otherwise both `check --smoke` and `fit` refuse them, before an epoch is trained.
"""

import json
import random

import pytest

from rapidfire_cli.engine.messages import Smoke
from rapidfire_cli.facts import RunFailed
from tests.training.sandbox import TrainingSandbox, leaf
from tests.training.test_state import equal, read
from tests.training.zoo import Grown

SPEC = "tests.training.zoo:Zoo"
SHARE, WHOLE = (*range(2), 17), range(2000)  # 17: parameters that are never initialised, beside arrays
OPTIMIZERS = [{"name": "Adam", "args": {"lr": 0.01}}, {"name": "SGD", "args": {"lr": 0.05, "momentum": 0.9}}]


def check(seed, directory):
    """Train the seed's model both ways and compare."""
    luck = random.Random(seed)
    config = leaf(optimizer=luck.choice(OPTIMIZERS), user_knobs={"seed": seed}, on_nan="continue")
    (smoked,) = [
        TrainingSandbox(directory / "smoke", SPEC, data_cache=0).executor.smoke(Smoke(json.dumps(config), 42))
    ]
    whole = TrainingSandbox(directory / "whole", SPEC)
    whole.train(config, until=3)
    failures = [told for told in whole.told if isinstance(told, RunFailed)]
    if not Grown(seed).is_held:
        assert [finding.code for finding in smoked.findings] == ["E432"]
        assert [(failure.kind, failure.step) for failure in failures] == [("state", 1)]
        return
    assert (smoked.findings, failures) == ((), [])
    while not (directory / "moved" / "1").exists() or not [*(directory / "moved" / "1").glob("final.*")]:
        moved = TrainingSandbox(directory / "moved", SPEC, checkpoint_every=luck.choice([2, 1e9]))
        moved.stop_at = luck.randint(1, 12)
        moved.train(config, until=3)
        assert not [told for told in moved.told if isinstance(told, RunFailed)]
    assert equal(read(whole), read(moved))
    assert whole.epochs()[3] == moved.epochs()[3]


@pytest.mark.parametrize("seed", SHARE)
def test_a_random_model_ends_with_the_same_bits_however_it_is_moved_or_is_refused(tmp_path, seed):
    check(seed, tmp_path)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", WHOLE)
def test_two_thousand_random_models_end_with_the_same_bits_or_are_refused(tmp_path, seed):
    check(seed, tmp_path)
