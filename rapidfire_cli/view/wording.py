"""Values as people read them: knobs, metrics, durations."""

import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from unicodedata import east_asian_width

from rapidfire_cli.terms import VALIDATION, Plain, Split

NOTHING = "–"
MOST = 5  # runs that are named one by one
DIGITS = 5  # of a float that has many


def knob_text(value: Plain) -> str:
    """A knob's value on one line, safe for any terminal; a float of many digits is rounded."""
    if isinstance(value, float) and len(repr(value)) > DIGITS + len("0.000"):
        return f"{value:.{DIGITS}g}"
    if isinstance(value, str) and value.isprintable() and value:
        return value
    return json.dumps(value, ensure_ascii=True, separators=(", ", ": "))


def metric_text(value: float | None) -> str:
    """A metric in a column: four decimals, or an exponent for very small or large values."""
    if value is None:
        return NOTHING
    plain = value == 0 or 1e-3 <= abs(value) < 1e4 or not math.isfinite(value)
    return f"{value:.4f}" if plain else f"{value:.3e}"


def metric_title(split: Split, name: str) -> str:
    """What people call a metric: by its name alone where it is measured on validation."""
    return name if split == VALIDATION else f"{split} {name}"


def duration_text(seconds: float) -> str:
    """`0:42`, `1:02:03`, `2d 03:04:05`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02}:{minute:02}:{second:02}"
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def moment_text(at: float) -> str:
    """When it was, given in seconds since the epoch: `2026-11-29T02:15:51+00:00`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def cells_of(text: str) -> int:
    """How many cells of a terminal the text takes: two for a wide letter (Unicode Standard Annex 11)."""
    return len(text) if text.isascii() else sum(1 + (east_asian_width(letter) in "WF") for letter in text)


def size_text(count: int) -> str:
    """Bytes as `512 B`, `1.2 MB` or `3.4 GB`."""
    size, units = float(count), ["GB", "MB", "kB", "B"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop()
    return f"{size:.0f} B" if len(units) == 4 else f"{size:,.1f} {units[-1]}"


def numbered(runs: Sequence[int]) -> str:
    """`run 3`, `runs 1, 2 and 5`, `runs 1, 2, 3, 4 and 20 more`."""
    if len(runs) == 1:
        return f"run {runs[0]}"
    *most, last = map(
        str, runs[:MOST] if len(runs) <= MOST else (*runs[: MOST - 1], f"{len(runs) - MOST + 1} more")
    )
    return f"runs {', '.join(most)} and {last}"


def ranges(runs: Sequence[int]) -> Iterator[str]:
    """Numbers in order as verbs take them: `3`, `5-7`."""
    first = last = None
    for run in (*runs, None):
        if last is not None and run != last + 1:
            yield f"{first}-{last}" if first != last else f"{last}"
            first = None
        first, last = first or run, run


def counted(count: int, noun: str) -> str:
    """`1 run`, `1,000 runs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
