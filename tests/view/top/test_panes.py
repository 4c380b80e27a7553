"""The lower half: curves, the log, rungs with their reasons, slots, all about a run."""

import os

from rapidfire_cli.durable.lock import lock
from rapidfire_cli.facts import (
    BracketBegun,
    Decision,
    RunChanged,
    TurnStarted,
    Verdict,
    WorkerDied,
    WorkerStarted,
)
from rapidfire_cli.records import to_plain
from rapidfire_cli.stopping.halving import HalvingRule
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import RunState, canonical
from tests.store.sweep import epoch, runs
from tests.view.top.screens import HOME, kept, seen, shown, swept, until, visit

BRAILLE = range(0x2800, 0x2900)


def dots(app):
    """The lines of the screen that hold dots of a curve."""
    return [line for line in shown(app) if any(ord(letter) in BRAILLE for letter in line)]


def test_the_curve_of_the_run_under_the_cursor_is_drawn_or_those_of_the_marked_runs():
    swept(HOME).close()

    async def story(app, pilot):
        await until(pilot, lambda: "top1_accuracy  ■ 1 0." in seen(app) and bool(dots(app)))
        await pilot.press("space", "space", "down")
        await until(pilot, lambda: "■ 1 (64, 0.001) 0." in seen(app) and "■ 2 (32, 0.0001) 0." in seen(app))
        await pilot.press("m")
        await until(pilot, lambda: "loss  ■ 1" in seen(app))

    visit(HOME, story, size=(120, 30))


def test_a_curve_grows_while_the_run_trains():
    journal = kept(HOME)

    async def story(app, pilot):
        await until(pilot, lambda: "■ 1 no value yet" in seen(app))
        assert not dots(app)
        journal.record([epoch(1, number, 0.1 * number) for number in (1, 2, 3)])
        await until(pilot, lambda: bool(dots(app)) and "■ 1 0.3000" in seen(app))

    visit(HOME, story)


def test_the_end_of_the_log_is_followed_and_shown_as_text():
    swept(HOME).close()
    log = ExperimentDir(HOME).run(runs(1)[0]) / "log.txt"

    async def story(app, pilot):
        await pilot.press("2")
        await until(pilot, lambda: "nothing printed yet" in seen(app))
        log.write_bytes(b" 10%|#\r 90%|#########\n[bold]\x1b[2J\xff\n" + b"line\n" * 50 + b"last\n")
        await until(pilot, lambda: "last" in seen(app))
        with log.open("ab") as more:
            more.write(b"and more\n")
        await until(pilot, lambda: "and more" in seen(app))
        await pilot.press("tab", "home")
        await until(pilot, lambda: " 90%|#########" in seen(app))
        assert "10%" not in seen(app)
        assert "[bold]\\x1b[2J\ufffd" in seen(app)

    visit(HOME, story)


def halved(home):
    """Six runs, of which a rung promoted two."""
    journal = kept(home)
    rule = canonical(to_plain(HalvingRule("top1_accuracy", "max", 1, 5, 3)))
    verdicts = [Verdict(run, 0.9 - run / 10, run, run <= 2) for run in range(1, 7)]
    journal.record([BracketBegun(1, rule, (1, 2, 3, 4, 5, 6), (5,) * 6)])
    journal.record([epoch(run, 1, 0.9 - run / 10) for run in range(1, 7)])
    journal.record([Decision(1, "halving", 1, 1, 6, 2, 0.7, 3, tuple(verdicts))])
    journal.record([RunChanged(run, RunState.PRUNED) for run in range(3, 7)])
    return journal


def test_rungs_say_why_the_run_is_in_its_state_and_what_was_decided():
    halved(HOME).close()

    async def story(app, pilot):
        await pilot.press("3", "down", "down")
        await until(pilot, lambda: "run 3 was pruned at rung 1 (1 epoch)" in seen(app))
        assert "bracket 1  6 runs by top1_accuracy, best 1 in 3 promoted" in seen(app)
        assert "rung 1 (1 epoch)  6 results, cut 0.7  promoted 1-2 (2)  pruned 3-6 (4)" in seen(app)

    visit(HOME, story)


def test_slots_show_what_they_train_and_the_memory_of_their_workers():
    home = ExperimentDir(HOME)
    journal = kept(home.path)
    journal._clock = lambda: 4_000_000_000.0  # after the lock was taken

    async def story(app, pilot):
        await pilot.press("4")
        await until(pilot, lambda: "starting workers" in seen(app))
        journal.record([WorkerStarted(0, os.getpid(), "cpu"), WorkerStarted(1, 2**22 + 1, "cpu")])
        journal.record([RunChanged(2, RunState.RUNNING), TurnStarted(2, 0, 1)])
        await until(pilot, lambda: "● run 2  epoch 1/5" in seen(app) and "B  ●" in seen(app))
        assert f"slot 0  cpu      pid {os.getpid()}" in seen(app)
        journal.record([WorkerDied(0, "killed by SIGKILL", 2)])
        await until(pilot, lambda: "worker died: killed by SIGKILL" in seen(app))
        await until(pilot, lambda: "the worker on slot 0 died: killed by SIGKILL" in seen(app))

    with lock(home.lock, "process 1"):
        visit(home.path, story)


def test_all_that_is_known_of_a_run_is_on_its_page():
    swept(HOME, failing=3).close()

    async def story(app, pilot):
        await pilot.press("5", "down", "down", "z")
        await until(pilot, lambda: "run 3  failed  epoch 1/5" in seen(app))
        assert "train.optimizer.args.lr" in seen(app)

    visit(HOME, story, size=(80, 60))
