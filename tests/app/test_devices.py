"""The devices that runs train on, and what is said of them."""

from types import SimpleNamespace

import pytest

from rapidfire_cli.app import devices
from rapidfire_cli.app.devices import advice, data_workers, spread_note
from rapidfire_cli.engine.gang import born
from rapidfire_cli.engine.ports import Slot, gpus_of
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.representatives import representatives
from rapidfire_cli.syntax.ast import GridSearch
from rapidfire_cli.terms import Execution
from tests.manifest.trees import file

SPIN = "training can be several times slower"
CROWD = "they slow each other down"


@pytest.mark.parametrize(
    ("cores", "workers", "threads", "says"),
    [
        (2, 2, 2, f"2 workers with 2 threads each on 2 cores: {SPIN}; use `--threads 1`"),
        (8, 2, 8, f"2 workers with 8 threads each on 8 cores: {SPIN}; use `--threads 4`"),
        (2, 3, 4, f"3 workers with 4 threads each on 2 cores: {SPIN}; use `--threads 1`"),
        (2, 4, 1, f"4 workers on 2 cores: {CROWD}; use `--workers 2`"),
        (1, 2, 1, f"2 workers on 1 core: {CROWD}; use `--workers 1`"),
    ],
)
def test_more_threads_than_cores_are_warned_of(cores, workers, threads, says):
    for chosen in (False, True):
        assert advice(cores, workers, threads, chosen) == f"warning: {says}"


@pytest.mark.parametrize(
    ("device", "asked", "slots", "expected"),
    [
        ("cpu", None, 2, 0),
        ("cpu", 3, 2, 3),
        ("cuda:0", None, 3, 5),
        ("cuda:0", None, 99, 1),
        ("cuda:0", 0, 1, 0),
    ],
)
def test_gpus_have_the_cores_as_data_workers(monkeypatch, device, asked, slots, expected):
    monkeypatch.setattr(devices, "cores", lambda: 16)
    asked_of = SimpleNamespace(execution=Execution(data_workers=asked))

    assert data_workers(asked_of, [Slot(index, device, "", 1.0) for index in range(slots)]) == expected


def test_a_single_run_on_many_cores_gets_a_hint():
    told = advice(16, 1, 1, chosen=False)
    assert told.startswith("note: 1 worker with 1 thread on 16 cores; `--threads 16` uses all")


@pytest.mark.parametrize(
    ("cores", "workers", "threads", "chosen"),
    [(16, 1, 1, True), (2, 1, 1, False), (16, 8, 2, False), (16, 16, 1, False)],
)
def test_nothing_is_said_where_threads_fit_or_were_chosen(cores, workers, threads, chosen):
    assert advice(cores, workers, threads, chosen) == ""


LAYERS = ("a.Block",)


def experiment(train: dict):
    return file(GridSearch({"train": {"epochs": 1, **train}, "fsdp_layer_cls": LAYERS}))


@pytest.mark.parametrize(
    ("gpus", "unset", "set_to_2"), [(0, 1, 2), (1, 1, 2), (4, 4, 2)], ids=["on the CPU", "on one", "on four"]
)
def test_runs_that_name_layers_take_all_gpus_unless_they_say_how_many(gpus, unset, set_to_2):
    slots = [Slot(index, "cuda:0", f"{index // 2}", 0.5) for index in range(2 * gpus)]
    slots = slots or [Slot(index, "cpu", "", 1.0) for index in range(4)]
    assert gpus_of(slots) == gpus
    for train, expected in (({}, unset), ({"gpus": 2}, set_to_2)):
        asked = experiment(train)
        (run,) = expand(asked)
        outline = representatives([run]).on(gpus_of(slots))
        assert outline.gangs.get(1, 1) == expected
        assert born(SimpleNamespace(run=1), run, 3, slots).gang == expected
        assert ("on all 4 GPUs" in spread_note(asked, gpus)) == (expected == 4)


def test_a_run_that_takes_all_gpus_has_the_same_id_on_every_machine():
    (run,) = expand(experiment({}))
    assert "gpus" not in run.config and representatives([run]).on(4).gangs == {1: 4}
