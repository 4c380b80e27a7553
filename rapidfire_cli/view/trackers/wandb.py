"""Weights & Biases: a run for each run, in the project and group of the experiment's name.

Online, a run is created when it begins and gets its values as they come. Offline runs cannot be resumed, so
offline each run is written once, as a whole, when it is over; `wandb sync` uploads it later.
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


class WandB:
    """Logs to a server as values come (`streams`), or to files when runs are over."""

    def __init__(self, place: Place, mode: Mode, streams: bool) -> None:
        self._place = place
        self._mode = mode
        self._streams = streams
        self._runs: dict[int, Run] = {}  # that are open, by number

    def log(self, notes: Sequence[Note]) -> None:
        """Log the notes. Raises what W&B raises."""
        for note in notes:
            match note:
                case Began(run):
                    if self._streams:
                        self._opened(run, run.id)
                case Measured(run):
                    if self._streams:
                        _log(self._opened(run, run.id), note)
                case Changed(run, _, state):
                    if state not in UNFINISHED:
                        self._finish(run, note)
                    elif self._streams:
                        self._opened(run, run.id).summary.update(_state(note))
                case _:
                    assert_never(note)

    def close(self) -> None:
        """Finish the runs that are open, and wait until W&B's own process has written everything."""
        import wandb

        for run in self._runs.values():
            run.finish()
        wandb.teardown()

    def _finish(self, run: TrackedRun, note: Changed) -> None:
        """Finish a run that is over; where nothing was logged meanwhile, log all of it."""
        opened = self._opened(run, run.id if self._streams else self._unused(run))
        if not self._streams:
            for each in self._place.curves(run.number):
                _log(opened, each)
        opened.summary.update(_state(note))
        opened.finish(exit_code=int(bool(note.cause)))
        del self._runs[run.number]

    def _opened(self, run: TrackedRun, id: str) -> "Run":
        if run.number not in self._runs:
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            import wandb

            quiet = wandb.Settings(
                console="off", silent=True, disable_git=True, x_disable_stats=True, x_disable_meta=True
            )
            opened = wandb.init(
                project=_project(self._place),
                group=self._place.metadata.experiment,
                id=id,
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
        return self._runs[run.number]

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


def _log(run: "Run", note: Measured) -> None:
    run.log({**note.values, "epoch": note.epoch, "step": note.step})


def _state(note: Changed) -> dict[str, Value]:
    return {"state": str(note.state), **({"cause": note.cause} if note.cause else {}), **note.summary}


def _config(run: TrackedRun) -> Mapping[str, Value]:
    return {**run.knobs, **{f"rapidfire.{name}": value for name, value in run.facts.items()}}
