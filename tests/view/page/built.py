"""The built page and a browser to open it in, or the reason why a test that needs them is skipped."""

import os
import shutil
from pathlib import Path

import pytest

from rapidfire_cli.view.page.bundle import Bundle, bundle, panel_script

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def page_bundle() -> Bundle:
    """The page's files; those of the panel are beside them where they were built by today's sources."""
    return (panel_script() and bundle()) or missing("the page is not built: make web")


def browser() -> str:
    """The path of a Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    return found or missing(f"no browser: none of {', '.join(BROWSERS)} is installed")


def missing(reason: str):
    """The workflow on GitHub installs all of it."""
    if os.environ.get("GITHUB_ACTIONS"):
        pytest.fail(reason)
    pytest.skip(reason)


def sources() -> list[Path]:
    return sorted((Path(__file__).parents[3] / "web" / "src").iterdir())
