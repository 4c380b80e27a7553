"""Find an experiment and read its state from the journal."""

from collections.abc import Callable
from pathlib import Path

from rapidfire_cli.app.experiments import source_of
from rapidfire_cli.app.files import reload
from rapidfire_cli.durable.lock import is_held
from rapidfire_cli.problems import Span
from rapidfire_cli.store.layout import ExperimentDir, find, parent_directory
from rapidfire_cli.store.queries import Overview, overview
from rapidfire_cli.store.source import check_source
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import Objective


def open_overview(
    experiment: str | None,
    parent: str | None,
    unlisted: bool = False,
    choose: Callable[[Objective], Objective] = lambda usual: usual,
) -> Overview:
    """Read the state of the chosen experiment. Raises Refusal if there is none."""
    home, files = located(experiment, parent)
    seen = overview(home.journal, is_held(home.lock), unlisted, choose)
    for path, file in files.items():
        check_source(home, seen.metadata.source, source_of(path, file, home), Span(str(path), 0, 0))
    return seen


def located(experiment: str | None, parent: str | None) -> tuple[ExperimentDir, dict[Path, ExperimentFile]]:
    """The chosen experiment's directory, and the file by which it was named, if it was.

    Raises Refusal if there is none.
    """
    files: dict[Path, ExperimentFile] = {}

    def name_of(path: Path) -> str:
        files[path] = reload(path)
        return files[path].name

    return find(parent_directory(parent), experiment, name_of), files
