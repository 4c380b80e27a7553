"""The readers are tested in a process as the controller's, which loads no torch."""

import sys

import pytest


@pytest.fixture(autouse=True)
def python_as_it_starts():
    """mpmath, which torch loads, lifts Python's limit on the digits of an integer."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(sys.int_info.default_max_str_digits)
    yield
    sys.set_int_max_str_digits(before)
