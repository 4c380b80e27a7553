"""What watching costs training: `python -m bench.attached [--model mlp|cnn] [--pairs N] [--seconds S]`.

One long sweep of the digits trains on two workers. Beside it are the process that logs to a tracker,
`rapidfire web` with a client that reads its events, and `rapidfire top` in a terminal of its own. In every
other window of time they are stopped by a signal, and epochs per second of neighbouring windows are compared,
so that what else the machine does changes both. A window in which they go on catches up on what they missed,
so it does the work of two windows; half of the difference is what watching costs all the time. (The terminal
app also draws its whole screen when it goes on, so windows should not be short.)
"""

import argparse
import fcntl
import http.client
import os
import pty
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import mean, median, stdev
from tempfile import TemporaryDirectory

from bench.top import drain
from bench.trackers import cpu, logging
from bench.work import DIGITS, PROCESSES
from rapidfire_cli.store.layout import ExperimentDir

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "rapidfire_cli")
EPOCHS = 100_000  # of each run: more than will be trained
SIZE = 120, 40
COUNT = "SELECT count(*) FROM metrics WHERE name = 'loss' AND split = 'train'"
SETTLED = 15.0  # seconds until everything is up


@contextmanager
def fitting(folder: Path, model: str) -> Iterator[tuple[ExperimentDir, int]]:
    """Train until the block ends; the experiment and the process of the controller."""
    work = replace(DIGITS, constants={**DIGITS.constants, "user_knobs.model": model, "train.epochs": EPOCHS})
    file = folder / "sweep.yaml"
    file.write_text(work.file, encoding="utf-8")
    options = ["--dir", f"{folder}", "--workers", f"{PROCESSES}", "--threads", "1", "--gpus", "0"]
    command = [*COMMAND, "fit", f"{file}", *options, "--tracker", "tensorboard"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as fit:
        try:
            yield ExperimentDir(folder / "sweep"), fit.pid
        finally:
            fit.terminate()  # a process in the background may ignore SIGINT
            fit.wait()


@contextmanager
def served(home: ExperimentDir) -> Iterator[int]:
    """Serve the page to a client that reads what it sends; the server's process."""
    command = [*COMMAND, "web", "-e", f"{home.path}", "--no-open"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        url = urllib.parse.urlsplit(server.stdout.readline().strip())
        reader = threading.Thread(target=_read, args=(url.netloc, url.query), daemon=True)
        reader.start()
        try:
            yield server.pid
        finally:
            server.kill()


def _read(host: str, query: str) -> None:
    """Log in as a browser does, and read the stream of events."""
    client = http.client.HTTPConnection(host)
    client.request("GET", f"/?{query}")
    answer = client.getresponse()
    answer.read()
    cookie = (answer.getheader("set-cookie") or "").partition(";")[0]
    client.request("GET", "/api/stream", headers={"cookie": cookie, "accept": "text/event-stream"})
    events = client.getresponse()
    if events.status != 200:
        raise SystemExit(f"the page's events: {events.status} {events.read()[:200]!r}")
    try:
        while events.read1(1 << 16):
            pass
    except (OSError, http.client.HTTPException):  # the server was killed
        pass


@contextmanager
def terminal(home: ExperimentDir) -> Iterator[int]:
    """The terminal app in a terminal of its own; its process."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    command = [*COMMAND, "top", "-e", f"{home.path}"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as app:
        os.close(theirs)
        threading.Thread(target=drain, args=(ours,), daemon=True).start()
        try:
            yield app.pid
        finally:
            app.kill()


def epochs(journal: sqlite3.Connection) -> int:
    """How many epochs the journal has."""
    (count,) = journal.execute(COUNT).fetchone()
    return int(count)


def rate(journal: sqlite3.Connection, seconds: float) -> float:
    """Epochs per second, measured for `seconds`."""
    first, began = epochs(journal), time.perf_counter()
    time.sleep(seconds)
    last, ended = epochs(journal), time.perf_counter()
    return (last - first) / (ended - began)


def send(processes: Sequence[int], what: signal.Signals) -> None:
    """Send each process the signal."""
    for each in processes:
        os.kill(each, what)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=["mlp", "cnn"], default="mlp")
    parser.add_argument("--pairs", type=int, default=16, help="of windows (default 16)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a window (default 10)")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder, ExitStack() as stack:
        home, controller = stack.enter_context(fitting(Path(folder), asked.model))
        while not home.journal.exists():
            time.sleep(0.1)
        time.sleep(SETTLED)
        watching = [stack.enter_context(attach(home)) for attach in (served, terminal)]
        watching += logging(controller)
        assert len(watching) == 3
        time.sleep(SETTLED)
        journal = stack.enter_context(closing(sqlite3.connect(f"file:{home.journal}?mode=ro", uri=True)))
        ratios: list[float] = []
        first, before, began = epochs(journal), [*map(cpu, watching)], time.perf_counter()
        for _ in range(asked.pairs):
            rates = {}
            for what in random.sample((signal.SIGSTOP, signal.SIGCONT), 2):
                send(watching, what)
                rates[what] = rate(journal, asked.seconds)
            send(watching, signal.SIGCONT)
            ratios.append(rates[signal.SIGSTOP] / rates[signal.SIGCONT])
        took = time.perf_counter() - began
        spent = [now - then for now, then in zip(map(cpu, watching), before, strict=True)]
        print(f"{(epochs(journal) - first) / took:.0f} epochs a second, {asked.pairs} pairs of windows")
    error = stdev(ratios) / len(ratios) ** 0.5
    print(f"stopped / going on: {median(ratios):.4f} by median, {mean(ratios):.4f} ± {error:.4f} by mean")
    print(f"so watching costs {(mean(ratios) - 1) / 2:.2%} ± {error / 2:.2%} of the training")
    for name, seconds in zip(("web", "top", "tracker"), spent, strict=True):
        print(f"CPU time of {name:8} {seconds / took / PROCESSES:.2%} of what two cores have")


if __name__ == "__main__":
    main()
