"""The end of a run's log, as text that no terminal interprets."""

from rapidfire_cli.engine.local.log_rotation import LOG, log_end
from rapidfire_cli.problems import visible
from rapidfire_cli.store.layout import ExperimentDir, Numbered

TAIL = 1 << 16  # bytes that are read (assumed: more than a few screens)
LINES = 400  # that are shown (assumed)


def tail(home: ExperimentDir, run: Numbered) -> str:
    """The last lines of the run's log; empty where it cannot be read.

    A line that a progress bar rewrote is shown in its last state. Control characters and terminal sequences
    are escaped.
    """
    try:
        data = log_end(home.run(run) / LOG, TAIL)
    except OSError:
        return ""
    lines = data.decode("utf-8", "replace").replace("\r\n", "\n").removesuffix("\n").split("\n")
    return "\n".join(visible(line.rstrip("\r").rpartition("\r")[2]) for line in lines[-LINES:])


def changed_at(home: ExperimentDir, run: Numbered) -> tuple[int, int]:
    """The log's size and when it was last written: they differ once it has grown."""
    try:
        found = (home.run(run) / LOG).stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
