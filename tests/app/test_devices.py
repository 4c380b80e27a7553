"""A line says when workers crowd the cores or leave most of them idle."""

from types import SimpleNamespace

import pytest

from rapidfire_cli.app import devices
from rapidfire_cli.app.devices import advice, data_workers
from rapidfire_cli.engine.ports import Slot
from rapidfire_cli.terms import Execution

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
    file = SimpleNamespace(execution=Execution(data_workers=asked))

    assert data_workers(file, [Slot(index, device, "", 1.0) for index in range(slots)]) == expected


def test_a_single_run_on_many_cores_gets_a_hint():
    told = advice(16, 1, 1, chosen=False)
    assert told.startswith("note: 1 worker with 1 thread on 16 cores; `--threads 16` uses all")


@pytest.mark.parametrize(
    ("cores", "workers", "threads", "chosen"),
    [(16, 1, 1, True), (2, 1, 1, False), (16, 8, 2, False), (16, 16, 1, False)],
)
def test_nothing_is_said_where_threads_fit_or_were_chosen(cores, workers, threads, chosen):
    assert advice(cores, workers, threads, chosen) == ""
