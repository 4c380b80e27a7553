"""The table of runs: what it shows, and how one moves, sorts, filters and marks."""

from dataclasses import replace

from rapidfire_cli.facts import RunChanged
from rapidfire_cli.terms import RunState
from tests.store.sweep import METADATA, epoch
from tests.view.top.screens import kept, seen, shown, swept, until, visit


def rows(app):
    """The numbers of the runs in the order of the table."""
    return app.query_one("#runs").runs


def test_a_finished_experiment_is_shown_with_its_best_run_and_the_knobs_that_vary(tmp_path):
    swept(tmp_path / "digits").close()

    async def story(app, pilot):
        lines = shown(app)
        assert "digits" in lines[0] and "6 completed" in lines[0] and "★ run" in lines[0]
        assert "30/30 epochs 100 %" in lines[1]
        assert lines[2].split() == ["run", "state", "epoch", "top1_accuracy", "batch_size", "lr", "›"]
        [best] = [line for line in lines[3:] if "★" in line]
        assert lines[0].partition("★ run ")[2].split()[0] == best.replace("★", " ").split()[0]

    visit(tmp_path / "digits", story)


def test_what_is_recorded_meanwhile_appears_by_itself(tmp_path):
    journal = kept(tmp_path / "digits")

    async def story(app, pilot):
        assert "0.8125" not in seen(app)
        journal.record([RunChanged(2, RunState.RUNNING), epoch(2, 1, 0.8125)])
        await until(pilot, lambda: "0.8125" in seen(app))
        assert "★ run 2" in shown(app)[0]

    visit(tmp_path / "digits", story)


def test_names_with_markup_and_terminal_sequences_are_shown_as_text(tmp_path):
    metadata = replace(METADATA, experiment="[red]x[/red]\x1b[31m")
    journal = kept(tmp_path / "digits", metadata=metadata)
    journal.record([RunChanged(1, RunState.FAILED, "ValueError: [bold]\x1b]0;owned\x07")])

    async def story(app, pilot):
        assert "[red]x[/red]\\x1b[31m" in shown(app)[0]
        assert not any(ord(letter) < 32 for line in shown(app) for letter in line)

    visit(tmp_path / "digits", story)
