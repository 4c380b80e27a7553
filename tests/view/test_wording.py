"""Numbers as people read them."""

import pytest

from rapidfire_cli.view.wording import counted, duration_text, metric_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (3599, "59:59"),
        (3723, "1:02:03"),
        (183_723, "2d 03:02:03"),
    ],
)
def test_durations(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.97222, "0.9722"),
        (0.0, "0.0000"),
        (-1.5, "-1.5000"),
        (1.2e-05, "1.200e-05"),
        (123456.0, "1.235e+05"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (None, "–"),
    ],
)
def test_metrics(value, text):
    assert metric_text(value) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 runs"), (1, "1 run"), (1000, "1,000 runs")])
def test_counts(count, text):
    assert counted(count, "run") == text
