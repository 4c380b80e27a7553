"""The trackers, by name, and the packages that they need."""

from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast

from rapidfire_cli.terms import Tracker as Name
from rapidfire_cli.view.trackers.tracker import Place, Tracker


class TrackerModule(Protocol):
    """A module of this package that bears a tracker's name."""

    NEEDS: tuple[str, ...]
    """The packages that it imports."""

    def opened(self, place: Place) -> Tracker:
        """Open the tracker to log to; it continues what an earlier process logged."""
        ...

    def where(self, place: Place) -> str:
        """Say where people find what was logged."""
        ...


def module_of(name: Name) -> TrackerModule:
    """The tracker's module; importing it imports none of what it needs."""
    return cast("TrackerModule", import_module(f"{__package__}.{name}"))


def missing(name: Name) -> str | None:
    """The first package that the tracker needs and that is not installed."""
    return next((package for package in module_of(name).NEEDS if find_spec(package) is None), None)
