"""A line says when workers crowd the cores or leave most of them idle."""

import pytest

from rapidfire_cli.app.devices import advice

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


def test_a_single_run_on_many_cores_gets_a_hint():
    told = advice(16, 1, 1, chosen=False)
    assert told.startswith("note: 1 worker with 1 thread on 16 cores; `--threads 16` uses all")


@pytest.mark.parametrize(
    ("cores", "workers", "threads", "chosen"),
    [(16, 1, 1, True), (2, 1, 1, False), (16, 8, 2, False), (16, 16, 1, False)],
)
def test_nothing_is_said_where_threads_fit_or_were_chosen(cores, workers, threads, chosen):
    assert advice(cores, workers, threads, chosen) == ""
