"""A worker measures how much memory a run needs; what is wrong with a run does not stop it."""

import pytest

from rapidfire_cli.engine.messages import Assignment, Probe
from rapidfire_cli.terms import canonical
from tests.training.sandbox import SPECS, TrainingSandbox, leaf
from tests.training.specs import Blobs


class Picky(Blobs):
    """Refuses to make a model where a knob says so."""

    def create_model(self, cfg):
        if cfg["user_knobs"].get("refused"):
            raise ValueError("not this one")
        return super().create_model(cfg)


ADAM = {"name": "Adam", "args": {"lr": 0.01}}
SGD = {"name": "SGD", "args": {"lr": 0.01}}


def peaks(tmp_path, *configs, spec=f"{SPECS}:Blobs"):
    """What a worker measures of runs 1, 2, ..."""
    place = TrainingSandbox(tmp_path / "place", spec)
    asked = tuple(Assignment(run, canonical(each), 7, "") for run, each in enumerate(configs, 1))
    answer = place.executor.probe(Probe((), measured=asked))
    assert answer.memory is not None and not answer.findings
    assert [each.run for each in answer.peaks] == [*range(1, len(configs) + 1)]
    return answer.peaks


def test_a_larger_batch_and_an_optimizer_with_state_need_more(tmp_path):
    configs = [leaf(SGD, batch_size=8), leaf(SGD, batch_size=32), leaf(ADAM, batch_size=8)]
    loading, small, large, stateful = peaks(tmp_path, configs[0], *configs)
    assert not any(each.failed for each in (loading, small, large, stateful))
    assert small.size < large.size and small.rest == large.rest
    assert small.size < stateful.size and small.rest < stateful.rest


@pytest.mark.parametrize("batch_size", [32, 37, 64])
def test_epochs_of_one_or_two_steps_are_measured_too(tmp_path, batch_size):
    (found,) = peaks(tmp_path, leaf(ADAM, batch_size=batch_size, epochs=3))
    assert found.size > found.rest > 0 and not found.failed


def test_a_run_that_raises_is_not_measured_and_the_others_are(tmp_path):
    wrong, right = peaks(
        tmp_path, leaf(SGD, user_knobs={"refused": True}), leaf(SGD), spec=f"{__name__}:Picky"
    )
    assert wrong.size == 0 and wrong.failed.startswith("ValueError: not this one (tests/training/")
    assert right.size > 0 and not right.failed


def test_a_measurement_leaves_nothing_behind(tmp_path):
    place = TrainingSandbox(tmp_path / "place", f"{SPECS}:Blobs")
    alone = TrainingSandbox(tmp_path / "alone", f"{SPECS}:Blobs")
    place.executor.probe(Probe((), measured=(Assignment(1, canonical(leaf()), 7, ""),)))
    for each in (place, alone):
        each.train(leaf(), until=2)
    assert place.epochs() == alone.epochs()
    assert [*place.executor._runs] == [*alone.executor._runs]
