"""What the web page costs with 10,000 runs of 100 epochs: `python -m bench.web [--runs N] [--home DIR]`.

`--peers` measures Optuna Dashboard and TensorBoard beside it instead, on the same runs (by default 300): the
seconds from the start of each server to the first learning curve in the browser, and the JavaScript.

Writes such a journal (some minutes; `--home` keeps it for the next time), serves it with `rapidfire web` and
opens it in Chromium. Times are the browser's own. Idle are the server and all processes of the browser. The
heap is measured after garbage was collected, before and after 10,000 ends of epochs that came live.
"""

import argparse
import gzip
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench.peers.pages import PEERS, free_port, serving
from rapidfire_cli.durable.lock import lock
from rapidfire_cli.facts import EpochEnded, Metric
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.view.page.bundle import bundle
from tests.view.page.served import Tab, chromium
from tests.view.page.sweeps import STEPS, grid

EVENTS = 10_000
IDLE = 15.0  # seconds
GIVE_UP = 300.0  # seconds without a curve
TICKS = os.sysconf("SC_CLK_TCK")
LIMITS = {
    "usable after the snapshot": (1000, "ms"),
    "redraw": (50, "ms"),
    "filter": (100, "ms"),
    "sort": (100, "ms"),
    "idle CPU": (2, "%"),
    "script and style": (150, "kB"),
    "script and style, gzip": (50, "kB"),
}
WATCH = """
  window.seen = {};
  new MutationObserver(() => {
    if (!seen.rows && document.querySelector('.runs tbody tr[aria-rowindex]')) {
      requestAnimationFrame(() => { seen.rows ??= performance.now(); });
    }
  }).observe(document, {childList: true, subtree: true});
"""
TIMED = """
  async ([selector, action]) => {
    const frame = () => new Promise(requestAnimationFrame);
    await frame();
    const began = performance.now();
    const element = document.querySelector(selector);
    if (action === null) element.click();
    else {
      element.value = action;
      element.dispatchEvent(new Event('input', {bubbles: true}));
    }
    await Promise.resolve();
    await frame();
    const drawn = performance.now();
    return drawn - began;
  }
"""


@contextmanager
def served(home: ExperimentDir) -> Iterator[tuple[str, int]]:
    """The page's URL, and the process that serves it."""
    command = [sys.executable, "-m", "rapidfire_cli", "web", "-e", str(home.path), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield server.stdout.readline().strip(), server.pid
        finally:
            server.terminate()


def processes(root: int) -> list[int]:
    """The process and those that it started."""
    found = [root]
    for pid in found:
        children = Path(f"/proc/{pid}/task/{pid}/children")
        found += map(int, children.read_text().split()) if children.exists() else ()
    return found


def cpu(pids: list[int]) -> float:
    """Seconds that these processes used so far."""
    used = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / TICKS


def timed(page: Any, selector: str, text: str | None = None) -> float:
    """Milliseconds from an action to the end of the frame that shows its effect."""
    found: float = page.evaluate(TIMED, [selector, text])
    page.wait_for_timeout(300)
    return found


def redraws(page: Any) -> list[float]:
    """Milliseconds of every redraw of the curves so far."""
    entries = "performance.getEntriesByName('rapidfire:redraw').map((entry) => entry.duration)"
    found: list[float] = page.evaluate(entries)
    page.evaluate("performance.clearMeasures()")
    return found


def heap(page: Any) -> float:
    """Megabytes of JavaScript objects, after garbage was collected."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    return float(session.send("Runtime.getHeapUsage")["usedSize"]) / 1e6


def live(home: ExperimentDir, page: Any, epochs: int, runs: int) -> tuple[float, float]:
    """The heap before and after events that came live, in megabytes; each is the end of a further epoch."""
    journal = SqliteJournal(home.journal)
    with lock(home.lock, "bench.web"):
        page.wait_for_selector(".pill.running")
        page.wait_for_timeout(3000)
        before = heap(page)
        for start in range(0, EVENTS, 50):
            journal.record([_ended(1 + at % min(runs, 200), epochs) for at in range(start, start + 50)])
            time.sleep(0.02)
        page.wait_for_timeout(3000)
        after = heap(page)
    journal.close()
    return before, after


def _ended(run: int, epoch: int) -> EpochEnded:
    metrics = (Metric("train", "loss", 0.1), Metric("validation", "loss", 0.1))
    return EpochEnded(run, epoch, epoch * STEPS, (*metrics, Metric("validation", "top1_accuracy", 0.5)), 1.0)


def measure(home: ExperimentDir, runs: int, epochs: int) -> Iterator[tuple[str, float, str]]:
    """Name, figure and unit of everything that is measured."""
    page_files = bundle()
    assert page_files, "make web"
    files = (page_files.script, page_files.style)
    yield "script and style", sum(map(len, files)) / 1000, "kB"
    yield "script and style, gzip", sum(len(gzip.compress(each, 9)) for each in files) / 1000, "kB"
    with served(home) as (url, server), chromium() as browser:
        tab = Tab(browser)
        page = tab.page
        page.set_default_timeout(120_000)
        page.add_init_script(WATCH)
        page.goto(url)
        while not page.evaluate("seen.rows"):  # the page's policy forbids to evaluate it there
            page.wait_for_timeout(200)
        snapshot = "performance.getEntriesByName('rapidfire:snapshot')[0].startTime"
        yield "snapshot, from opening the page", page.evaluate(snapshot), "ms"
        yield "usable after the snapshot", page.evaluate(f"seen.rows - {snapshot}"), "ms"
        page.wait_for_selector(".canvas canvas")
        page.wait_for_timeout(1500)
        first = "performance.getEntriesByName('rapidfire:redraw').at(-1)"
        yield "curves, after the snapshot", page.evaluate(f"{first}.startTime - {snapshot}"), "ms"
        yield "first image of the curves", max(redraws(page)), "ms"
        box = page.locator(".canvas").bounding_box()
        for x in range(300, 1200, 30):
            page.mouse.move(x, box["y"] + box["height"] / 4)
            page.wait_for_timeout(60)
        yield "redraw", median(redraws(page)), "ms"
        page.mouse.move(5, 5)
        filters = ("lr > 0.001", "", 'model == "cnn" and top1_accuracy > 0.9', "")
        yield "filter", median(timed(page, "#filter", each) for each in filters), "ms"
        heads = [f".runs th:nth-child({at}) button" for at in (5, 6, 10, 2)]
        yield "sort", median(timed(page, each) for each in heads), "ms"
        page.wait_for_timeout(3000)
        pids = [*processes(server), *processes(os.getpid())[1:]]
        pids = [pid for pid in dict.fromkeys(pids) if Path(f"/proc/{pid}/stat").exists()]
        before = cpu(pids)
        time.sleep(IDLE)
        yield "idle CPU", 100 * (cpu(pids) - before) / IDLE, "%"
        early, late = live(home, page, epochs, runs)
        yield "heap", early, "MB"
        yield f"heap after {EVENTS:,} events", late, "MB"
        assert tab.wrong == []


def compare(home: ExperimentDir, place: Path, browser: Any) -> Iterator[tuple[str, float, float]]:
    """Each tool, the seconds from starting its server to the first curve, and kilobytes of JavaScript."""
    command = (sys.executable, "-m", "rapidfire_cli", "web", "-e", str(home.path), "--no-open")
    drawn = "performance.getEntriesByName('rapidfire:redraw').length > 0"
    yield ("rapidfire", *first_curve(browser, command, None, drawn))
    for peer in PEERS:
        own = place / peer.name
        own.mkdir()
        peer.write(home, own)
        port = free_port()
        url = f"http://127.0.0.1:{port}{peer.path}"
        yield (peer.name, *first_curve(browser, peer.command(own, port), url, peer.drawn))


def first_curve(browser: Any, command: Sequence[str], url: str | None, drawn: str) -> tuple[float, float]:
    """Seconds from starting the server to the first curve, and kilobytes of JavaScript that were loaded.

    Without a URL, the server prints it.
    """
    page, scripts = Tab(browser).page, list[Any]()
    page.set_default_timeout(300_000)
    page.on("response", lambda found: found.request.resource_type == "script" and scripts.append(found))
    began = time.monotonic()
    with serving(command) as printed:
        _open(page, url or printed())
        while not page.evaluate(drawn):
            page.wait_for_timeout(20)
            assert time.monotonic() - began < GIVE_UP, f"no curve: {command[0]}"
        took = time.monotonic() - began
        size = sum(len(found.body()) for found in scripts)
        page.context.close()
    return took, size / 1000


def _open(page: Any, url: str) -> None:
    """Open the page as soon as its server answers."""
    host, port = url.split("/")[2].split(":")
    while True:
        try:
            socket.create_connection((host, int(port))).close()
            break
        except OSError:
            time.sleep(0.02)
    page.goto(url, wait_until="commit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--home", type=Path)
    given = parser.parse_args()
    runs = given.runs or (300 if given.peers else 10_000)
    with TemporaryDirectory() as directory:
        home = ExperimentDir(given.home or Path(directory) / "sweep")
        if not home.journal.exists():
            grid(home, runs, given.epochs, every=500)
        if given.peers:
            with chromium() as browser:
                for name, seconds, size in compare(home, Path(directory), browser):
                    print(f"{name:20} first curve {seconds:6.1f} s  JavaScript {size:8,.0f} kB", flush=True)
            return
        for name, figure, unit in measure(home, runs, given.epochs):
            limit = f"  (at most {LIMITS[name][0]})" if name in LIMITS else ""
            print(f"{name:34} {figure:9,.1f} {unit:3}{limit}", flush=True)


if __name__ == "__main__":
    main()
