"""Weights & Biases: a run for each run, in the project and group of the experiment's name.

Online, a run is created when it begins and gets its values as they come. W&B's own process uploads them
later, so values that were logged can still be lost. Each line of a run's history is therefore one line of its
curves, in order, and a run that is opened again continues after the lines that the server has. The end of a
run waits for the upload. Offline runs cannot be resumed, so offline each run is written once, as a whole,
when it is over; `wandb sync` uploads it later.
"""

import os
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Literal, assert_never

from rapidfire_cli.terms import UNFINISHED, Value
from rapidfire_cli.view.trackers.tracker import Began, Changed, Measured, Note, Place, TrackedRun

if TYPE_CHECKING:
    from wandb import Run

NEEDS = ("wandb",)
MODE, KEY, PROJECT = "WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT"
"""Environment variables of W&B's: `online` or `offline`, the key that uploading needs, and the project."""

Mode = Literal["online", "offline"]
Position = tuple[int, int, bool]
"""Where a line is in a run's curves: epoch, step, and whether it is the epoch's end."""


class WandB:
    """Logs to a server as values come (`streams`), or to files when runs are over."""

    def __init__(self, place: Place, mode: Mode, streams: bool) -> None:
        self._place = place
        self._mode = mode
        self._streams = streams
        self._runs: dict[int, Run] = {}  # that are open, by number
        self._logged: dict[int, Position] = {}  # up to which these are logged

    def log(self, notes: Sequence[Note]) -> None:
        """Log the notes. Raises what W&B raises."""
        for note in notes:
            match note:
                case Began(run):
                    if self._streams:
                        self._opened(run)
                case Measured(run):
                    if self._streams:
                        self._opened(run)
                        self._extend(note)
                case Changed(run, _, state):
                    if self._streams or state not in UNFINISHED:
                        self._opened(run).summary.update(_state(note))
                    if state not in UNFINISHED:
                        self._runs.pop(run.number).finish(exit_code=int(bool(note.cause)))
                case _:
                    assert_never(note)

    def close(self) -> None:
        """Finish the runs that are open, and wait until W&B's own process has written everything."""
        import wandb

        for run in self._runs.values():
            run.finish()
        wandb.teardown()

    def _opened(self, run: TrackedRun) -> "Run":
        """The run at W&B, with all that it has measured."""
        if run.number not in self._runs:
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            import wandb

            quiet = wandb.Settings(
                console="off", silent=True, disable_git=True, x_disable_stats=True, x_disable_meta=True
            )
            opened = wandb.init(
                project=_project(self._place),
                group=self._place.metadata.experiment,
                id=run.id if self._streams else self._unused(run),
                name=run.name,
                config=_config(run),
                dir=self._place.directory,
                mode=self._mode,
                resume="allow" if self._mode == "online" else None,
                reinit="create_new",
                settings=quiet,
            )
            opened.define_metric("*", step_metric="epoch")
            self._runs[run.number] = opened
            curves = self._place.curves(run.number)
            there, rest = curves[: opened.starting_step], curves[opened.starting_step :]
            self._logged[run.number] = _position(there[-1]) if there else (0, 0, False)
            for each in rest:
                self._extend(each)
        return self._runs[run.number]

    def _extend(self, note: Measured) -> None:
        """Log what the open run has measured, unless it is logged."""
        number, at = note.run.number, _position(note)
        if at > self._logged[number]:
            self._runs[number].log({**note.values, "epoch": note.epoch, "step": note.step})
            self._logged[number] = at

    def _unused(self, run: TrackedRun) -> str:
        """An id that no earlier files have: a run that was resumed is over a second time."""
        times = len([*self._place.directory.glob(f"wandb/offline-run-*-{run.id}*")])
        return f"{run.id}-{times + 1}" if times else run.id


def opened(place: Place) -> WandB:
    """Log online if the environment says so or has a key, else to files."""
    mode = _mode()
    return WandB(place, mode, streams=mode == "online")


def where(place: Place) -> str:
    """The command that uploads what was logged, or where it is."""
    if _mode() == "online":
        return f"project {_project(place)}"
    return f"wandb sync {quote(f'{place.directory}/wandb')}/offline-run-*"


def _project(place: Place) -> str:
    return os.environ.get(PROJECT) or place.metadata.experiment


def _mode() -> Mode:
    said = os.environ.get(MODE) or ("online" if os.environ.get(KEY) else "offline")
    return "online" if said in ("online", "run") else "offline"


def _position(note: Measured) -> Position:
    return note.epoch, note.step, not all(tag.startswith("so_far/") for tag in note.values)


def _state(note: Changed) -> dict[str, Value]:
    return {"state": str(note.state), **({"cause": note.cause} if note.cause else {}), **note.summary}


def _config(run: TrackedRun) -> Mapping[str, Value]:
    return {**run.knobs, **{f"rapidfire.{name}": value for name, value in run.facts.items()}}
