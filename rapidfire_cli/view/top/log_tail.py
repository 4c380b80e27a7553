"""The end of a run's log, as text that no terminal interprets."""

from pathlib import Path

from rapidfire_cli.engine.local.log_rotation import LOG
from rapidfire_cli.problems import visible
from rapidfire_cli.store.layout import ExperimentDir, Numbered

TAIL = 1 << 16  # bytes that are read (assumed: more than a few screens)
LINES = 400  # that are shown (assumed)


def tail(home: ExperimentDir, run: Numbered) -> str | None:
    """The last lines, or None where there is no log.

    Of a line that a progress bar wrote again and again, the last state is shown. Control characters and
    terminal sequences are escaped.
    """
    found = _end(home.run(run) / LOG)
    if found is None:
        return None
    data, is_cut = found
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    lines = text.removesuffix("\n").split("\n")[1 if is_cut else 0 :]
    return "\n".join(visible(line.rstrip("\r").rpartition("\r")[2]) for line in lines[-LINES:])


def changed_at(home: ExperimentDir, run: Numbered) -> tuple[int, int]:
    """What differs once the log has grown: its size and when it was written."""
    try:
        found = (home.run(run) / LOG).stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _end(path: Path) -> tuple[bytes, bool] | None:
    """The last bytes, and whether there are more before them."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL))
            return file.read(), size > TAIL
    except OSError:
        return None
