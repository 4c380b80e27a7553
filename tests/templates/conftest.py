"""A project with the demo data of every template, which the tests of this directory share."""

from pathlib import Path
from typing import get_args

import pytest

from rapidfire_cli.app import demo_data
from rapidfire_cli.app.templates import Name
from rapidfire_cli.app.verbs.init import init


@pytest.fixture(scope="session")
def filled(tmp_path_factory) -> Path:
    """Its directory; the base model for LoRA is trained for a few steps only."""
    directory = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_data, "STEPS", 20)
        for name in get_args(Name):
            init(directory, name)
    return directory


@pytest.fixture
def project(filled, monkeypatch) -> Path:
    """The working directory is that of the project."""
    monkeypatch.chdir(filled)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(filled / "cache"))
    return filled
