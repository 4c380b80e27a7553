"""The files of the page and the notebook's panel, which `make web` builds from `web/`; wheels carry them."""

from dataclasses import dataclass
from pathlib import Path

PLACE = Path(__file__).with_name("bundle")
SCRIPT, STYLE, PANEL = "page.js", "page.css", "panel.js"
NOT_BUILT = "the page is not built; in a clone, `make web` builds it (needs Node)"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The page's program and its style."""

    script: bytes
    style: bytes


def bundle() -> Bundle | None:
    """The files; None where they were never built."""
    try:
        return Bundle((PLACE / SCRIPT).read_bytes(), (PLACE / STYLE).read_bytes())
    except FileNotFoundError:
        return None


def panel_script() -> str | None:
    """The program of the notebook's panel, with its style; None where it was never built."""
    try:
        return (PLACE / PANEL).read_text("utf-8")
    except FileNotFoundError:
        return None
