"""`track`: log to trackers what they have not logged yet."""

from collections.abc import Sequence

from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.files import reload
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.tracking.beside import checked_trackers, left_behind
from rapidfire_cli.app.tracking.follow import Follower, behind, directory_of
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import Tracker
from rapidfire_cli.view.trackers import notes, registry
from rapidfire_cli.view.wording import counted


def track(names: Sequence[Tracker], experiment: str | None, parent: str | None) -> int:
    """Log everything that is missing to these trackers, or to those of the experiment.

    Returns the exit code. Raises Held if a fit logs to one of them, and Unavailable if one fails.
    """
    home = open_overview(experiment, parent).home
    asked = checked_trackers(names or _usual(home))
    failed = [line for name in asked if not _logged(home, name) for line in left_behind(home, [name])]
    if failed:
        raise Unavailable("\n".join(failed))
    return 0


def _logged(home: ExperimentDir, name: Tracker) -> bool:
    """Log everything to one tracker and print where it is; return False if it fails."""
    left = behind(home, name)
    follower = Follower(home, name)
    follower.end()
    if not follower.follow():
        return False
    where = registry.module_of(name).where(notes.place(home.journal, follower.directory))
    print(f"{name}: {counted(left, 'event')} logged; {where}")
    return True


def _usual(home: ExperimentDir) -> Sequence[Tracker]:
    """The trackers of the file, and those that were used before. Raises Unavailable if there is none."""
    of_file = reload(home.file).trackers if home.file.is_file() else ()
    used = [name for name in Tracker if directory_of(home, name).is_dir()]
    if not (names := tuple(dict.fromkeys((*of_file, *used)))):
        raise Unavailable(f"{home.path} has no tracker yet; name one with `--to tensorboard`")
    return names
