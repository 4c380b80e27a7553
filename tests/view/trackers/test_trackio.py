"""What was logged to trackio, read from its storage."""

import pytest

from rapidfire_cli.terms import RunState
from rapidfire_cli.view.trackers.tracker import Began, Changed, Place
from rapidfire_cli.view.trackers.trackio import FOLDER, Trackio
from tests.store.sweep import METADATA
from tests.view.trackers.examples import measured, run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """trackio reads its folder when it is imported, so all tests share it."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("trackio")
        patch.setenv(FOLDER, str(directory))
        pytest.importorskip("trackio", reason="needs pip install 'rapidfire-cli[trackio]'")
        yield Place(directory, METADATA, {}, lambda run: ())


@pytest.fixture
def read(place):
    """A run's rows and its config."""
    from trackio.sqlite_storage import SQLiteStorage

    def read(number: int):
        id = f"{number:016x}"
        rows = SQLiteStorage.get_logs("digits", run_id=id)
        return rows, SQLiteStorage.get_run_config("digits", run_id=id)

    return read


def test_a_run_has_its_knobs_its_facts_and_its_curves(place, read):
    Trackio(place).log([Began(run(7), 1.7e9), measured(7, 1, 2.0), measured(7, 2, 1.0)])
    rows, config = read(7)
    assert [(row["step"], row["epoch"], row["train/loss"]) for row in rows] == [(20, 1, 2.0), (40, 2, 1.0)]
    assert rows[0]["timestamp"].startswith("2023-11-14T22:13:21")
    assert config["train.optimizer.args.lr"] == 0.1
    assert (config["rapidfire.number"], config["rapidfire.seed"]) == (7, 42)


def test_what_is_logged_twice_is_kept_once(place, read):
    notes = [Began(run(8), 1.7e9), measured(8, 1, 2.0)]
    Trackio(place).log(notes)
    Trackio(place).log([*notes, measured(8, 2, 1.0)])
    assert [row["train/loss"] for row in read(8)[0]] == [2.0, 1.0]


def test_a_run_that_is_over_has_a_state_and_a_summary(place, read):
    over = Changed(run(9), 1.7e9 + 9, RunState.FAILED, "ValueError: no", {"step": 20, "best/val/loss": 0.5})
    Trackio(place).log([Began(run(9), 1.7e9), measured(9, 1, 2.0), over])
    rows, config = read(9)
    assert rows[-1]["best/val/loss"] == 0.5
    assert (config["state"], config["cause"]) == ("failed", "ValueError: no")
