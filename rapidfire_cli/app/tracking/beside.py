"""Run the process that logs to a fit's trackers, and report at the end what they have not logged."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.tracking.follow import DRAIN, behind, progress
from rapidfire_cli.durable import disk
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import Tracker
from rapidfire_cli.view.trackers.registry import missing
from rapidfire_cli.view.wording import counted

COMMAND = (sys.executable, "-P", "-m", "rapidfire_cli.app.tracking.process")


def checked_trackers(names: Sequence[Tracker]) -> tuple[Tracker, ...]:
    """The trackers, each once. Raises Unavailable if one needs a package that is missing."""
    for name in names:
        if package := missing(name):
            hint = f"pip install 'rapidfire-cli[{name}]'"
            raise Unavailable(f"the tracker {name} needs the package {package}: {hint}")
    return tuple(dict.fromkeys(names))


def log_rest(home: ExperimentDir, names: Sequence[Tracker]) -> None:
    """Log what these trackers have not logged yet, without training; print which are still behind."""
    late = [name for name in names if behind(home, name)]
    if late and (process := _started(home, late)):
        _end(process, home, late)


@contextmanager
def logged(home: ExperimentDir, names: Sequence[Tracker]) -> Iterator[None]:
    """Log to these trackers from another process during the block; at the end print which are behind.

    Errors of that process and of trackers are printed, never raised.
    """
    process = _started(home, names) if names else None
    try:
        yield
    finally:
        if process:
            _end(process, home, names)


def left_behind(home: ExperimentDir, names: Sequence[Tracker]) -> Iterator[str]:
    """A line for each tracker that has not logged everything."""
    for name in names:
        if left := behind(home, name):
            why = f" ({error})" if (error := progress(home, name).error) else ""
            rest = f"`rapidfire track -e {shlex.quote(str(home.path))}` continues"
            yield f"{name} is {counted(left, 'event')} behind{why}; {rest}"


def _started(home: ExperimentDir, names: Sequence[Tracker]) -> subprocess.Popen[bytes] | None:
    """Start the process; None with a warning if it cannot be started."""
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    try:
        disk.make_directory(home.trackers)
        with os.fdopen(disk.append(home.trackers / "log"), "ab") as log:
            return subprocess.Popen(
                (*COMMAND, str(home.path), *names),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=quiet,
                start_new_session=True,  # Ctrl-C is for the fit
            )
    except OSError as error:
        print(f"warning: nothing is logged to {', '.join(names)}: {error}", file=sys.stderr)
        return None


def _end(process: subprocess.Popen[bytes], home: ExperimentDir, names: Sequence[Tracker]) -> None:
    """Wait until the process has caught up, at most DRAIN seconds; then print which trackers are behind.

    Ctrl-C ends the waiting.
    """
    assert process.stdin
    try:
        with suppress(OSError):
            process.stdin.close()  # its signal to finish
        with suppress(subprocess.TimeoutExpired):
            process.wait(DRAIN)
    finally:
        process.kill()
        process.wait()
    for line in left_behind(home, names):
        print(line, file=sys.stderr)
