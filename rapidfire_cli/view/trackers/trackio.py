"""trackio: a run for each run, in the project of the experiment's name.

Values go straight into trackio's storage: `trackio.init` would start threads and look at the hardware of the
process that logs. Every row has an id, so a note that is logged twice is kept once.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from shlex import quote
from typing import assert_never

from rapidfire_cli.terms import UNFINISHED, Value
from rapidfire_cli.view.trackers.tracker import Began, Changed, Measured, Note, Place, TrackedRun

NEEDS = ("trackio",)
FOLDER = "TRACKIO_DIR"
"""The environment variable that says where trackio keeps everything."""

Row = tuple[str, float, int, dict[str, float]]
"""What makes a row unique in its run, its time, its step and its values."""


class Trackio:
    """Logs to trackio's files."""

    def __init__(self, place: Place) -> None:
        """Choose the place for the files; trackio reads it when it is imported first."""
        os.environ.setdefault(FOLDER, str(place.directory.absolute()))
        self._project = place.metadata.experiment
        self._states: dict[int, dict[str, Value]] = {}

    def log(self, notes: Sequence[Note]) -> None:
        """Log the notes. Raises what trackio raises."""
        runs: dict[int, TrackedRun] = {}
        rows: dict[int, list[Row]] = {}
        for note in notes:
            runs[note.run.number] = note.run
            own = rows.setdefault(note.run.number, [])
            match note:
                case Began():
                    pass
                case Measured(_, at, epoch, step, values):
                    own.append((f"{step} {min(values, default='')}", at, step, {**values, "epoch": epoch}))
                case Changed(_, at, state, cause, summary):
                    self._states[note.run.number] = {"state": str(state), "cause": cause}
                    if state not in UNFINISHED:
                        own.append((f"{at} {state}", at, int(summary.get("step", 0)), {**summary}))
                case _:
                    assert_never(note)
        for number, run in runs.items():
            self._write(run, rows[number])

    def close(self) -> None:
        """Nothing is open between two batches."""

    def _write(self, run: TrackedRun, rows: Sequence[Row]) -> None:
        from trackio.sqlite_storage import SQLiteStorage

        facts = {f"rapidfire.{name}": value for name, value in run.facts.items()}
        SQLiteStorage.bulk_log(
            self._project,
            run.name,
            [values for *_, values in rows],
            steps=[step for _, _, step, _ in rows],
            timestamps=[datetime.fromtimestamp(at, UTC).isoformat() for _, at, _, _ in rows],
            config={**run.knobs, **facts, **self._states.get(run.number, {})},
            log_ids=[f"{run.id} {unique}" for unique, *_ in rows],
            run_id=run.id,
        )


def opened(place: Place) -> Trackio:
    """Log to files in the place's directory, or where the environment says."""
    return Trackio(place)


def where(place: Place) -> str:
    """The command that shows them."""
    folder = os.environ.get(FOLDER) or place.directory.absolute()
    return f"{FOLDER}={quote(str(folder))} trackio show --project {quote(place.metadata.experiment)}"
