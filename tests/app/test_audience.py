"""What watches a fit cannot end it."""

from contextlib import contextmanager

import pytest

from rapidfire_cli.app import workplaces
from rapidfire_cli.app.devices import DeviceRequest
from rapidfire_cli.app.experiments import load_experiment
from rapidfire_cli.app.files import Given
from rapidfire_cli.app.streams import ReaderGone
from rapidfire_cli.app.verbs import fit
from rapidfire_cli.engine import driver
from rapidfire_cli.engine.signals import StopSignal
from rapidfire_cli.view.audience import shielded
from tests.app.fake_workers import Cli, Crew, FaultRates, sha

WARNING = "warning: progress display failed, training continues: ValueError: no room\n"


class Broken:
    """An audience that raises each time."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.told = 0

    def tell(self, facts):
        self.told += 1
        raise self.error


@contextmanager
def watched(audience, entering=None, leaving=None):
    if entering:
        raise entering
    yield audience
    if leaving:
        raise leaving


def test_a_fit_goes_on_without_an_audience_that_raises(tmp_path, monkeypatch, capsys):
    cli, faults, broken = (
        Cli(tmp_path, lambda lr, epoch: lr * epoch),
        FaultRates(),
        Broken(ValueError("no room")),
    )
    file = tmp_path / "file.yaml"
    file.write_text(sha(4))
    monkeypatch.setattr(workplaces, "LocalBackend", lambda slots, *_: Crew(slots, cli, faults, []))
    monkeypatch.setattr(driver, "COMMIT_INTERVAL", 0.0)
    loaded = load_experiment(Given(file), str(cli.home.path.parent))
    fit.train(loaded, fit.Request(DeviceRequest(1)), StopSignal(), lambda _: watched(broken))

    assert set(cli.states) == {1, 2, 3, 4}
    assert set(cli.states.values()) == {"completed", "pruned"}
    assert broken.told == 1
    assert capsys.readouterr().err == WARNING


@pytest.mark.parametrize("moment", ["entering", "leaving"])
def test_an_audience_that_cannot_begin_or_end_is_dropped_too(capsys, moment):
    class Deaf:
        def tell(self, facts):
            pass

    with shielded(watched(Deaf(), **{moment: ValueError("no room")}), passing=()) as people:
        people.tell([])
    assert capsys.readouterr().err == WARNING


def test_a_reader_that_is_gone_ends_the_fit_as_it_ends_every_command():
    with pytest.raises(ReaderGone), shielded(watched(Broken(ReaderGone())), passing=(ReaderGone,)) as people:
        people.tell([])


def test_an_error_of_the_fit_is_not_the_audiences(capsys):
    with pytest.raises(KeyError), shielded(watched(Broken(ValueError())), passing=()):
        raise KeyError
    assert capsys.readouterr().err == ""
