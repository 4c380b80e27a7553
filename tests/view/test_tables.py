"""A table is aligned text for programs and coloured for people, and says the same to both."""

import io
import re

import pytest

from rapidfire_cli.view.tables import Column, Table, plain, show
from tests.view.terminal import Screen

RUN = Column("run", lambda row: str(row[0]), right=True)
STATE = Column("state", lambda row: row[1], styles={"failed": "red"})
TABLE = Table([RUN, STATE], [(1, "completed"), (12, "failed")], highlight_first=True)


def test_plain_columns_are_aligned_to_their_sides():
    assert list(plain(TABLE)) == ["run  state", "  1  completed", " 12  failed"]


def test_columns_stay_aligned_beside_wide_letters():
    knob = Column("knob", lambda row: row[1])
    table = Table([knob, RUN], [(1, "数字"), (2, "mlp–")])
    assert list(plain(table)) == ["knob  run", "数字    1", "mlp–    2"]


def test_a_table_without_rows_is_its_titles():
    assert list(plain(Table(TABLE.columns, []))) == ["run  state"]


def test_a_pipe_gets_plain_lines():
    stream = io.StringIO()
    show(TABLE, stream)
    assert stream.getvalue() == "run  state\n  1  completed\n 12  failed\n"


@pytest.fixture
def screen(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Screen()


def test_a_terminal_gets_the_same_words_in_colour(screen):
    show(TABLE, screen)
    words = re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue()).split()
    assert words == ["run", "state", "1", "completed", "12", "failed"]
    assert "\x1b[31mfailed" in screen.getvalue()


def test_a_narrow_terminal_is_spared_what_matters_least_and_told_so(screen):
    columns = [Column(f"{drop_order}" * 30, str, drop_order=drop_order) for drop_order in (3, 0, 1, 2)]
    show(Table(columns, ["x"]), screen)
    titles, _, told = re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue()).splitlines()
    assert titles.split() == ["0" * 30, "1" * 30]
    assert told == f"not shown: {'3' * 30}, {'2' * 30}"


def test_notes_stand_below_the_rows(screen):
    assert list(plain(Table([RUN], [(1,)], notes=["run 1 failed"])))[-1] == "run 1 failed"
    show(Table([RUN], [(1,)], notes=["run 1 failed"]), screen)
    assert screen.getvalue().endswith("run 1 failed\n")
    path = "x" * 200
    show(Table([RUN], [(1,)], notes=[f"see {path}"]), screen)
    assert screen.getvalue().endswith(f"see {path}\n"), "the terminal wraps it"


def test_a_table_too_wide_for_its_terminal_loses_letters_not_lines(screen):
    show(Table([Column("knob", lambda row: row)], ["x" * 200]), screen)
    shown = re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue()).splitlines()
    assert len(shown) == 2
    assert shown[1].rstrip().endswith("…")
