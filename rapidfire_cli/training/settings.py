"""What runs set in the process they share: each run gets its own settings back, and no run meets another's.

Between turns the process has its *usual* settings: those that it had once the MLSpec was imported. `of(run)`
encloses all that user code does for a run. When it ends, the settings that differ from the usual ones are
kept for the run, and the usual ones are put back; when it begins again, the run's are put back. Only what
differs is ever written, so a run that sets nothing pays for reading alone (70 µs a turn,
measured under load).

On another worker the run's methods set their settings anew. What training itself changed since, a checkpoint
holds: `packed` says it, and `unpack` puts it back.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from rapidfire_cli.training.failure import Failure, guard_user_code
from rapidfire_cli.training.process import SETTINGS
from rapidfire_cli.training.torch_settings import Setting

Changes: TypeAlias = Mapping[str, Any]
"""Values by the setting's name; of a dict only the keys that differ, with None for one that is not there."""

NOTHING: Changes = {}
BY_NAME = {setting.name: setting for setting in SETTINGS}
KEPT = tuple(setting for setting in SETTINGS if setting.kept != "never")
OF_ROWS = ("default dtype", "default device", "autocast", "working directory")
READERS = tuple(setting.get for setting in KEPT)
GLANCES = tuple(setting.glance or setting.get for setting in SETTINGS)


class ProcessSettings:
    """The usual settings, taken when this is made, and those of each run."""

    def __init__(self) -> None:
        self._own: dict[int, Changes] = {}
        self.take()

    def take(self) -> None:
        """Let the settings be the usual ones that the process has now."""
        self._usual = {setting.name: setting.get() for setting in SETTINGS}
        self._usual_of_kept = [self._usual[setting.name] for setting in KEPT]
        self._glance = _glance()  # while everything is as usual

    @contextmanager
    def of(self, run: int) -> Iterator[None]:
        """Enclose what user code does for the run. Raises Failure where its settings cannot be put back."""
        with guard_user_code():
            self.repeat(self._own.get(run, NOTHING))
        try:
            yield
        finally:
            self._own[run] = self._restore()

    @contextmanager
    def apart(self) -> Iterator[None]:
        """The usual settings inside; what is set there ends with it."""
        before = self._restore()
        try:
            yield
        finally:
            self._restore()
            self.repeat(before)

    def forget(self, run: int) -> None:
        """The run is no longer here."""
        self._own.pop(run, None)

    def changes(self) -> Changes:
        """What differs now from the usual, among the settings that a run's bits may depend on."""
        if [read() for read in READERS] == self._usual_of_kept:
            return NOTHING
        return self._differing(KEPT)

    def of_rows(self) -> Sequence[Any]:
        """Those on which the preparing of rows may depend."""
        return [BY_NAME[name].get() for name in OF_ROWS]

    def all_changes(self) -> Changes:
        """What differs now from the usual."""
        if (glance := _glance()) == self._glance:
            return NOTHING
        if found := self._differing(SETTINGS):
            return found
        self._glance = glance  # what is new, such as a logger, is as usual
        return NOTHING

    def since(self, before: Changes) -> Changes:
        """What differs now from what `all_changes` said before."""
        now = self.all_changes()
        return {name: value for name in BY_NAME for value in self._difference(name, now, before)}

    def repeat(self, changes: Changes) -> None:
        """Make changes that were made before."""
        for name, value in changes.items():
            BY_NAME[name].put(value)

    def packed(self, before: Changes) -> dict[str, Any]:
        """What differs now from what `changes` said before, as plain data.

        Raises Failure where plain data cannot say it, and bits may depend on it.
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
        """Put back what `packed` said."""
        for setting in KEPT:
            for value in packed.get(setting.name, ()):
                setting.put(setting.unpack(value))

    def _restore(self) -> Changes:
        """Put the usual settings back; what had been changed."""
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
        """How `now` differs from `since` in one setting, if it does."""
        usual = self._usual[name]
        if isinstance(usual, dict):
            here, there = ({**usual, **changes.get(name, NOTHING)} for changes in (now, since))
            if found := _keys(here, there):
                yield found
        elif now.get(name, usual) != since.get(name, usual):
            yield now.get(name, usual)


def _glance() -> list[Any]:
    """What is equal as long as every setting is, and takes less time to read."""
    return [glance() for glance in GLANCES]


def _keys(now: Mapping[Any, Any], before: Mapping[Any, Any]) -> dict[Any, Any]:
    """The keys that differ, with the value that they have now."""
    return {key: now.get(key) for key in now.keys() | before.keys() if now.get(key) != before.get(key)}
