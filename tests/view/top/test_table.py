"""The table of runs: what it shows, and how one moves, sorts, filters and marks."""

import math
from dataclasses import replace

from rapidfire_cli.facts import RunChanged
from rapidfire_cli.terms import RunState
from tests.store.sweep import METADATA, epoch
from tests.view.top.screens import HOME, kept, seen, shown, swept, until, visit


def rows(app):
    """The numbers of the runs in the order of the table."""
    return app.query_one("#runs").runs


def test_a_finished_experiment_is_shown_with_its_best_run_and_the_knobs_that_vary():
    swept(HOME).close()

    async def story(app, pilot):
        lines = shown(app)
        assert "digits" in lines[0] and "6 completed" in lines[0] and "★ run" in lines[0]
        assert "30/30 epochs 100 %" in lines[1]
        assert lines[2].split() == ["run", "state", "epoch", "top1_accuracy", "batch_size", "lr", "›"]
        [best] = [line for line in lines[3:] if "★" in line]
        assert lines[0].partition("★ run ")[2].split()[0] == best.replace("★", " ").split()[0]

    visit(HOME, story)


def test_what_is_recorded_meanwhile_appears_by_itself():
    journal = kept(HOME)

    async def story(app, pilot):
        assert "0.8125" not in seen(app)
        journal.record([RunChanged(2, RunState.RUNNING), epoch(2, 1, 0.8125)])
        await until(pilot, lambda: "0.8125" in seen(app))
        assert "★ run 2" in shown(app)[0]

    visit(HOME, story)


def test_only_lines_with_something_new_are_drawn_again():
    """A picture takes as long as its lines, and it is drawn again and again beside training."""
    journal = kept(HOME)

    async def story(app, pilot):
        drawn, line = [], app.table.render_line
        app.table.render_line = lambda y: drawn.append(y) or line(y)
        journal.record(
            [epoch(3, 1, 0.8125), epoch(5, 1, 0.25)]
        )  # the best run changes, and with it all lines
        await until(pilot, lambda: "0.8125" in seen(app))
        drawn.clear()
        journal.record([epoch(5, 2, 0.375)])
        await until(pilot, lambda: "0.3750" in seen(app))
        assert drawn == [5]

    visit(HOME, story)


def test_names_with_markup_and_terminal_sequences_are_shown_as_text():
    metadata = replace(METADATA, experiment="[red]x[/red]\x1b[31m")
    journal = kept(HOME, metadata=metadata)
    journal.record([RunChanged(1, RunState.FAILED, "ValueError: [bold]\x1b]0;owned\x07")])

    async def story(app, pilot):
        assert "[red]x[/red]\\x1b[31m" in shown(app)[0]
        assert not any(ord(letter) < 32 for line in shown(app) for letter in line)

    visit(HOME, story)


def test_columns_sort_in_their_usual_direction_and_the_cursor_stays_on_its_run():
    journal = kept(HOME, count=4)
    journal.record([epoch(1, 1, 0.5), epoch(2, 1, math.nan), epoch(3, 1, 0.75)])  # run 4 has no value

    async def story(app, pilot):
        await pilot.press("down", "o", "o", "o", "o")
        await until(pilot, lambda: "top1_accuracy▼" in shown(app)[2])
        assert rows(app) == [3, 1, 2, 4]
        assert app.query_one("#runs").run == 2
        await pilot.press("i")
        assert rows(app) == [1, 3, 2, 4], "NaN and no value are last in either direction"
        await pilot.press("b")
        assert app.query_one("#runs").run == 3
        await pilot.click("#runs", offset=(4, 0))
        await until(pilot, lambda: "run▲" in shown(app)[2])
        assert rows(app) == [1, 2, 3, 4]
        await pilot.click("#runs", offset=(4, 2))
        assert app.query_one("#runs").run == 2

    visit(HOME, story)


def test_a_filter_names_knobs_metrics_and_states():
    swept(HOME, failing=3).close()
    filters = {
        "lr > 0.0005": [1, 3, 4, 6],
        "train.batch_size == 64 and lr < 0.005": [1, 5],
        "top1_accuracy >= 0.94 or run == 1": [1, 2, 4, 6],
        "failed": [3],
        'state == "failed" and epoch < 5': [3],
    }

    async def story(app, pilot):
        for typed, left in filters.items():
            await pilot.press("slash")
            app.query_one("#filter").value = typed
            await pilot.press("enter")
            assert rows(app) == left, typed
            await until(pilot, lambda: f"{len(left)} of 6 runs: {typed}"[:24] in seen(app))  # noqa: B023
            await pilot.press("escape")
            assert rows(app) == [1, 2, 3, 4, 5, 6]

    visit(HOME, story)


def test_a_filter_that_cannot_be_understood_says_so_and_can_be_corrected():
    swept(HOME).close()

    async def story(app, pilot):
        await pilot.press("slash", *"lrr > 0.005", "enter")
        await until(pilot, lambda: "unknown knob `lrr`; did you mean `lr`?" in seen(app))
        await pilot.press("home", "right", "delete", "enter")
        assert rows(app) == [3, 6]

    visit(HOME, story)


def test_only_the_cells_of_rows_on_the_screen_are_made():
    metadata = replace(METADATA, varied=("train.batch_size",))
    kept(HOME, 3000, metadata).close()
    asked = []

    async def story(app, pilot):
        table = app.query_one("#runs")
        table._columns = [
            replace(each, text=lambda row, text=each.text: asked.append(row) or text(row))
            for each in table._columns
        ]
        await pilot.press("end")
        assert "3000" in seen(app)
        assert 3000 in (numbers := {row.number for row in asked})
        assert numbers <= {1, *range(2900, 3001)}

    visit(HOME, story)


def test_a_terminal_that_is_resized_shows_both_halves_side_by_side_where_there_is_room():
    swept(HOME).close()

    async def story(app, pilot):
        await pilot.resize_terminal(160, 30)
        await until(pilot, lambda: "1 curves" in shown(app)[2])
        await pilot.resize_terminal(60, 12)
        await until(pilot, lambda: "1 curves" not in shown(app)[2])
        assert len(shown(app)) == 12 and "run" in shown(app)[2]

    visit(HOME, story)
