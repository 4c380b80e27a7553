"""The end of a fit: the best runs, what failed and why, what was required; and how to see the rest."""

import json
from pathlib import Path

from rapidfire_cli.app import results
from rapidfire_cli.app.ci import judge, requirements
from rapidfire_cli.app.results import conclude
from rapidfire_cli.engine.signals import StopSignal
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.formats import Output
from tests.store.sweep import METADATA, row

PIXELS = "KeyError: 'pixels' (specs/x.py:41)"


def seen(rows: list[RunRow]) -> Overview:
    return Overview(
        METADATA, RunState.COMPLETED, tuple(rows), ExperimentDir(Path("my sweeps/digits")), METADATA.objective
    )


def failed(number: int, error: str) -> RunRow:
    return row(number, state=RunState.FAILED, error=error)


def test_people_see_the_best_twenty_and_are_told_how_to_see_all(capsys):
    rows = [row(number, number / 1000) for number in range(1, 101)]
    assert conclude(seen(rows), StopSignal(), Output.TABLE, ()) == 0
    _, *lines, more = capsys.readouterr().out.splitlines()
    assert [int(line.split()[-5]) for line in lines][:2] == [100, 99] and len(lines) == 20
    assert more == "the best 20 of 100; `rapidfire best -e 'my sweeps/digits'` shows all"
    conclude(seen(rows[:20]), StopSignal(), Output.TABLE, ())
    assert len(capsys.readouterr().out.splitlines()) == 21


def test_programs_are_told_of_every_run_and_of_what_was_required(capsys):
    rows = [row(number, number / 1000) for number in range(1, 101)]
    gates = judge(seen(rows), requirements(["top1_accuracy>0.5"]))
    conclude(seen(rows), StopSignal(), Output.JSON, gates)
    told = json.loads(capsys.readouterr().out)
    assert len(told["runs"]) == 100
    assert [(gate["requirement"], gate["met"], gate["value"]) for gate in told["requirements"]] == [
        ("top1_accuracy>0.5", False, 0.1)
    ]
    conclude(seen(rows), StopSignal(), Output.JSONL, gates)
    event = json.loads(capsys.readouterr().out)
    assert (event["event"], event["met"]) == ("requirement_judged", False)


def test_failures_are_told_by_their_cause_with_the_runs_and_a_log(capsys, monkeypatch):
    monkeypatch.setattr(results, "drawable", lambda *_: True)  # a terminal, whose live table is gone
    rows = [failed(1, PIXELS), row(2, 0.5), failed(4, PIXELS), failed(7, PIXELS)]
    rows += [failed(5, "TypeError: <A at 0x1>"), failed(6, "TypeError: <A at 0x2>"), failed(8, "no")]
    assert conclude(seen(rows), StopSignal(), Output.TABLE, ()) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"3 runs failed: {PIXELS}; runs 1, 4 and 7, see my sweeps/digits/runs/1-{1:016x}/log.txt",
        f"2 runs failed: TypeError: <A at 0x1>; runs 5 and 6, see my sweeps/digits/runs/5-{5:016x}/log.txt",
        f"run 8 failed: no; see my sweeps/digits/runs/8-{8:016x}/log.txt",
    ]


def test_what_was_printed_when_it_came_is_not_repeated_at_the_end(capsys, monkeypatch):
    monkeypatch.setattr(results, "drawable", lambda *_: False)
    rows = [failed(1, PIXELS), failed(4, PIXELS), failed(8, "no")]
    assert conclude(seen(rows), StopSignal(), Output.TABLE, ()) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"2 runs failed for the same reason: runs 1 and 4, see my sweeps/digits/runs/1-{1:016x}/log.txt",
        f"1 run failed: run 8, see my sweeps/digits/runs/8-{8:016x}/log.txt",
    ]


def test_of_very_many_causes_the_first_are_told(capsys):
    conclude(
        seen([failed(number, f"at step {number}") for number in range(1, 31)]), StopSignal(), Output.CSV, ()
    )
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "10 more causes of failure; `rapidfire status -e 'my sweeps/digits'` shows all"
