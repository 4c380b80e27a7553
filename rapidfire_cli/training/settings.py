"""Process settings of runs that share a process: each run has its own settings and does not see others'.

Between turns the process has its *usual* settings: those after the import of the MLSpec. All user code of a
run executes within `of(run)`. When the block ends, the settings that differ from the usual ones are stored
for the run, and the usual ones are restored. When the block begins again, the run's settings are restored.
Only differences are written, so a run that changes no settings only pays for reading them (70 µs per turn,
measured under load).

On another worker, the run's methods set their settings again. Changes that training itself made are in the
checkpoint: `packed` returns them, and `unpack` restores them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from rapidfire_cli.training.failure import Failure, guard_user_code
from rapidfire_cli.training.process import SETTINGS
from rapidfire_cli.training.torch_settings import Setting

Changes: TypeAlias = Mapping[str, Any]
"""Values by the setting's name; for a dict only the keys that differ, with None for a missing key."""

NOTHING: Changes = {}
BY_NAME = {setting.name: setting for setting in SETTINGS}
KEPT = tuple(setting for setting in SETTINGS if setting.kept != "never")
OF_ROWS = ("default dtype", "default device", "autocast", "working directory")
READERS = tuple(setting.get for setting in KEPT)
GLANCES = tuple(setting.glance or setting.get for setting in SETTINGS)


class ProcessSettings:
    """The usual settings, read at creation, and the settings of each run."""

    def __init__(self) -> None:
        self._own: dict[int, Changes] = {}
        self.take()

    def take(self) -> None:
        """Record the process's current settings as the usual ones."""
        self._usual = {setting.name: setting.get() for setting in SETTINGS}
        self._usual_of_kept = [self._usual[setting.name] for setting in KEPT]
        self._glance = _glance()  # while everything is as usual

    @contextmanager
    def of(self, run: int) -> Iterator[None]:
        """Run the block under the run's settings. Raises Failure if its settings cannot be restored."""
        with guard_user_code():
            self.repeat(self._own.get(run, NOTHING))
        try:
            yield
        finally:
            self._own[run] = self._restore()

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Run the block under the usual settings, and undo its changes at the end."""
        before = self._restore()
        try:
            yield
        finally:
            self._restore()
            self.repeat(before)

    def forget(self, run: int) -> None:
        """Forget the settings of a run."""
        self._own.pop(run, None)

    def changes(self) -> Changes:
        """Return current differences from the usual settings, among those that a run's bits may depend on."""
        if [read() for read in READERS] == self._usual_of_kept:
            return NOTHING
        return self._differing(KEPT)

    def of_rows(self) -> Sequence[Any]:
        """Return the settings on which prepared rows may depend."""
        return [BY_NAME[name].get() for name in OF_ROWS]

    def all_changes(self) -> Changes:
        """Return all current differences from the usual settings."""
        if (glance := _glance()) == self._glance:
            return NOTHING
        if found := self._differing(SETTINGS):
            return found
        self._glance = glance  # new objects, such as loggers, count as usual
        return NOTHING

    def since(self, before: Changes) -> Changes:
        """Return the current differences from an earlier result of `all_changes`."""
        now = self.all_changes()
        return {name: value for name in BY_NAME for value in self._difference(name, now, before)}

    def repeat(self, changes: Changes) -> None:
        """Apply recorded changes to the process."""
        for name, value in changes.items():
            BY_NAME[name].put(value)

    def packed(self, before: Changes) -> dict[str, Any]:
        """Return the current differences from an earlier result of `changes`, as plain data.

        Raises Failure if bits may depend on a difference that plain data cannot express.
        """
        now, packed = self.changes(), {}
        for setting in KEPT:
            for value in self._difference(setting.name, now, before):
                if setting.kept == "needed":
                    cause = f"training changed the {setting.name}, which a checkpoint cannot save"
                    raise Failure("checkpoint", f"{cause}; change them in initialize_run or create_model")
                packed[setting.name] = [setting.pack(value)]
        return packed

    def unpack(self, packed: Mapping[str, Any]) -> None:
        """Restore the result of `packed`."""
        for setting in KEPT:
            for value in packed.get(setting.name, ()):
                setting.put(setting.unpack(value))

    def _restore(self) -> Changes:
        """Restore the usual settings; return the differences."""
        found = self.all_changes()
        self.repeat({name: self._usual_of(name, change) for name, change in found.items()})
        return found

    def _usual_of(self, name: str, change: Any) -> Any:
        usual = self._usual[name]
        return {key: usual.get(key) for key in change} if isinstance(usual, dict) else usual

    def _differing(self, among: Sequence[Setting]) -> Changes:
        now = {setting.name: setting.get() for setting in among}
        pairs = {name: (value, self._usual[name]) for name, value in now.items()}
        return {
            name: _keys(value, usual) if isinstance(usual, dict) else value
            for name, (value, usual) in pairs.items()
            if value != usual
        }

    def _difference(self, name: str, now: Changes, since: Changes) -> Iterator[Any]:
        """Yield the difference between `now` and `since` in one setting, if there is one."""
        usual = self._usual[name]
        if isinstance(usual, dict):
            here, there = ({**usual, **changes.get(name, NOTHING)} for changes in (now, since))
            if found := _keys(here, there):
                yield found
        elif now.get(name, usual) != since.get(name, usual):
            yield now.get(name, usual)


def _glance() -> list[Any]:
    """Return values that are equal as long as all settings are, and that are quicker to read."""
    return [glance() for glance in GLANCES]


def _keys(now: Mapping[Any, Any], before: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the keys that differ, with their current values."""
    return {key: now.get(key) for key in now.keys() | before.keys() if now.get(key) != before.get(key)}
