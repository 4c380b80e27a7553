"""Golden files: what people see, kept word for word."""

import os
from pathlib import Path


def agree(golden: Path, text: str) -> None:
    """The text is the golden file's; with RAPIDFIRE_GOLDEN=write it becomes it."""
    if os.environ.get("RAPIDFIRE_GOLDEN") == "write":
        golden.write_text(text, "utf-8")
    assert text == golden.read_text("utf-8")
