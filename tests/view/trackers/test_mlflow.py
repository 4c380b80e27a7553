"""What was logged to MLflow, read by MLflow's client."""

import math

import pytest

from rapidfire_cli.terms import RunState
from rapidfire_cli.view.trackers.mlflow import SERVER, MLflow, address
from rapidfire_cli.view.trackers.tracker import Began, Changed, Place
from tests.store.sweep import METADATA
from tests.view.trackers.examples import measured, run

pytest.importorskip("mlflow", reason="needs pip install 'rapidfire-cli[mlflow]'")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """MLflow takes seconds to create its tables, so all tests share them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(SERVER, raising=False)
        yield Place(tmp_path_factory.mktemp("mlflow"), METADATA, {}, lambda run: ())


@pytest.fixture
def read(place):
    """A run as MLflow has it, and the values of one of its metrics by step."""
    from mlflow import MlflowClient

    client = MlflowClient(address(place))

    def read(number: int, metric: str = "train/loss"):
        [experiment] = [each for each in client.search_experiments() if each.name == "digits"]
        [found] = client.search_runs([experiment.experiment_id], f"tags.`rapidfire.id` = '{number:016x}'")
        points = client.get_metric_history(found.info.run_id, metric)
        return found, [(point.step, point.timestamp, point.value) for point in points]

    return read


def test_a_run_has_its_knobs_its_facts_and_its_curves(place, read):
    tracker = MLflow(place)
    tracker.log([Began(run(7, parent=3), 1.7e9), measured(7, 1, 2.0), measured(7, 2, math.nan)])
    found, (first, second) = read(7)
    assert found.info.run_name == "run-007"
    assert found.info.start_time == 1_700_000_000_000
    assert found.data.params["train.optimizer.args.lr"] == "0.1"
    assert found.data.params["user_knobs.deep"] == "true"
    assert found.data.tags["rapidfire.parent"] == "3"
    assert first == (20, 1_700_000_001_000, 2.0)
    assert (second[0], math.isnan(second[2])) == (40, True)
    assert [value for _, _, value in read(7, "epoch")[1]] == [1, 2]


def test_a_process_that_continues_adds_to_the_same_run_and_repeats_nothing(place, read):
    MLflow(place).log([Began(run(8), 1.7e9), measured(8, 1, 2.0)])
    MLflow(place).log([Began(run(8), 1.7e9), measured(8, 1, 2.0), measured(8, 2, 1.0)])
    assert [value for _, _, value in read(8)[1]] == [2.0, 1.0]


def test_a_run_that_is_over_has_a_status_and_a_summary_and_may_train_again(place, read):
    tracker = MLflow(place)
    over = Changed(
        run(9), 1.7e9 + 9, RunState.FAILED, "ValueError: no", {"best/epoch": 2, "best/val/loss": 0.5}
    )
    tracker.log([Began(run(9), 1.7e9), measured(9, 1, 2.0), over])
    found, _ = read(9)
    assert (found.info.status, found.info.end_time) == ("FAILED", 1_700_000_009_000)
    assert found.data.tags["rapidfire.state"] == "failed"
    assert found.data.tags["rapidfire.cause"] == "ValueError: no"
    assert found.data.tags["rapidfire.best/val/loss"] == "0.5"
    tracker.log([Changed(run(9), 1.7e9 + 10, RunState.RUNNING, "", {})])
    assert read(9)[0].info.status == "RUNNING"


def test_many_values_are_logged_in_batches(place, read):
    MLflow(place).log([Began(run(10), 1.7e9), *(measured(10, epoch, 1 / epoch) for epoch in range(1, 501))])
    assert len(read(10)[1]) == 500
