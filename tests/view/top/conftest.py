"""Each test has a directory of its own, so that paths are short enough for a screen."""

import pytest


@pytest.fixture(autouse=True)
def _working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
