"""The live table on a real terminal: calm, never wrapped, and gone when training is over."""

import os
import pty
import re
import struct
import sys
import termios
from fcntl import ioctl
from itertools import islice

import pytest

from rapidfire_cli.view.live import PERIOD, Live, in_notebook, picture
from tests.view.sweeps import blank, sweep, told
from tests.view.terminal import Screen, Terminal

TABLE = """
import sys
from itertools import count
from rapidfire_cli.view.live import Live
from tests.view.sweeps import blank, sweep

input()  # the terminal has its size by then
looks = count(1)  # at the clock: two for each frame, so that every fact is worth one and none takes time
with Live(blank({runs}), sys.stderr, clock=lambda: next(looks) // 2) as live:
    for fact in sweep({runs}, failing=3):
        live.tell([fact])
    {end}
print("what comes after", file=sys.stderr)
"""

ANY = """
import os, sys
from rapidfire_cli.view.audience import watching
from tests.view.sweeps import blank, sweep

input()
with watching(blank({runs}), None, sys.stderr, os.environ) as people:
    people.tell([*sweep({runs}, failing=3)])
"""


def shown(script: str, size: tuple[int, int], **environ: str) -> str:
    """What a terminal of `size` (width, height) is sent."""
    child, terminal = pty.fork()
    if child == 0:
        plain = {
            name: value for name, value in os.environ.items() if name not in ("CI", "COLUMNS", "NO_COLOR")
        }
        mine = {"TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUTF8": "1"}
        os.execve(sys.executable, [sys.executable, "-c", script], plain | mine | environ)
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    os.write(terminal, b"\n")
    output = b"".join(iter(lambda: _read(terminal), b""))
    os.waitpid(child, 0)
    os.close(terminal)
    return output.decode().removeprefix("\r\n")  # the echo


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


@pytest.mark.parametrize(("runs", "size"), [(8, (80, 24)), (8, (200, 50)), (40, (80, 24))])
def test_the_table_is_redrawn_in_place_and_leaves_the_screen_as_it_was(runs, size):
    terminal = Terminal(size[0])
    output = shown(TABLE.format(runs=runs, end=""), size)
    terminal.feed(output)
    assert output.count("digits") == len([*sweep(runs, failing=3)]) + 1  # the last once more before it goes
    assert terminal.shown == ["what comes after"]
    assert terminal.cursor_shown
    assert min(runs + 4, size[1] - 1) <= terminal.highest <= size[1]


def test_an_interrupted_table_gives_the_cursor_back():
    terminal = Terminal(80)
    terminal.feed(shown(TABLE.format(runs=8, end="raise SystemExit"), (80, 24)))
    assert terminal.shown == [""]
    assert terminal.cursor_shown


def test_no_colour_means_no_colour():
    output = shown(TABLE.format(runs=3, end=""), (80, 24), NO_COLOR="1")
    codes = {code for codes in re.findall(r"\x1b\[([\d;]*)m", output) for code in codes.split(";")}
    assert codes <= {"", "0", "1", "2", "3"}  # plain, bold, dim, italic


def test_columns_says_how_wide_the_table_is():
    terminal = Terminal(60)
    terminal.feed(shown(TABLE.format(runs=8, end=""), (200, 50), COLUMNS="60"))
    assert terminal.highest >= 12


def test_a_person_at_a_terminal_gets_the_table():
    assert "\x1b[?25l" in shown(ANY.format(runs=3), (80, 24))


@pytest.mark.parametrize("environ", [{"CI": "true"}, {"TERM": "dumb"}])
def test_where_nothing_can_be_redrawn_a_line_is_written_for_each_epoch(environ):
    output = shown(ANY.format(runs=3), (80, 24), **environ)
    assert "\x1b" not in output
    assert output.count("epoch ") == 2 * 5 + 1


def test_a_frame_is_drawn_no_sooner_than_a_period_after_the_last(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen, now = Screen(), 0.0
    with Live(blank(8), screen, clock=lambda: now) as live:
        written = []
        for now in (0.0, PERIOD / 2, PERIOD * 0.99, PERIOD, PERIOD * 1.5):  # noqa: B007 - the clock reads it
            live.tell([])
            written.append(screen.tell())
    first, soon, sooner, due, again = written
    assert 0 < first == soon == sooner < due == again


def test_no_frame_is_drawn_while_the_terminal_has_not_taken_the_last(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen, now, behind = Screen(), 0.0, False
    with Live(blank(8), screen, clock=lambda: now, lags=lambda _stream: behind) as live:
        written = []
        for now, behind in ((0.0, False), (10.0, True), (20.0, True), (30.0, False)):  # noqa: B007
            live.tell([])
            written.append(screen.tell())
    first, stopped, still, resumed = written
    assert 0 < first == stopped == still < resumed


def test_the_picture_shows_the_sweep():
    svg = picture(told(12, islice(sweep(12, failing=3), 90)), elapsed=42.0, width=100)
    text = svg.replace("&#160;", " ")
    assert svg.startswith("<svg")
    for word in ("digits", "batch_size", "lr", "top1_accuracy", "★", "✗ failed", "about"):
        assert word in text


def test_a_notebook_shows_html_in_place_and_keeps_the_last_frame():
    shown: list[str] = []
    with in_notebook(blank(8), shown.append) as live:
        live.tell([])
    assert len(shown) == 2
    assert all(html.startswith("<pre") and "8 runs" in html and "\x1b" not in html for html in shown)
