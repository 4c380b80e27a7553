"""The trackers of a fit: a process beside it that logs to them, and what is left to log at the end."""

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
    """Log what these trackers were not told yet, where nothing trains."""
    with logged(home, [name for name in names if behind(home, name)]):
        pass


@contextmanager
def logged(home: ExperimentDir, names: Sequence[Tracker]) -> Iterator[None]:
    """Log to these trackers meanwhile, from a process of its own; at the end say which ones are behind.

    Nothing that goes wrong there is raised here.
    """
    process = _started(home, names) if names else None
    try:
        yield
    finally:
        if process:
            _end(process)
            for line in left_behind(home, names):
                print(line, file=sys.stderr)


def left_behind(home: ExperimentDir, names: Sequence[Tracker]) -> Iterator[str]:
    """A line for each tracker that was not told everything."""
    for name in names:
        if left := behind(home, name):
            why = f" ({error})" if (error := progress(home, name).error) else ""
            rest = f"`rapidfire track -e {shlex.quote(str(home.path))}` continues"
            yield f"{name} is {counted(left, 'event')} behind{why}; {rest}"


def _started(home: ExperimentDir, names: Sequence[Tracker]) -> subprocess.Popen[bytes] | None:
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    log = -1
    try:
        disk.make_directory(home.trackers)
        log = disk.append(home.trackers / "log")
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
    finally:
        if log >= 0:
            os.close(log)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let it catch up, at most for some seconds; a second Ctrl-C ends the waiting."""
    try:
        with suppress(OSError):
            assert process.stdin
            process.stdin.close()
        process.wait(DRAIN)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
        process.wait()
