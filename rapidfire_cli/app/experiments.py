"""Load the experiment to train, from a file or a manifest, and find its directory."""

from dataclasses import dataclass
from pathlib import Path

from rapidfire_cli.app.errors import say
from rapidfire_cli.app.files import Given, changes, load, read
from rapidfire_cli.manifest import codec
from rapidfire_cli.manifest.counting import planned
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.problems import Problem, Refusal, SourceName, Span
from rapidfire_cli.store.layout import ExperimentDir, parent_directory
from rapidfire_cli.store.source import Source, file_source
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.syntax.overrides import Argument
from rapidfire_cli.terms import Run

MOST_RUNS = 100_000  # assumed: more is a mistake in the file
MANIFEST = ".jsonl"
NAME = ("experiment",)  # where the name is written, if it is


@dataclass(frozen=True, slots=True)
class LoadedExperiment:
    """An experiment that can be trained."""

    file: ExperimentFile
    mlspec: str
    runs: tuple[Run, ...]  # in order, numbered by their place
    home: ExperimentDir
    path: tuple[str, ...] = ()  # where the MLSpec's module is looked up beside the working directory
    source: Source | None = None  # which the directory belongs to from now on; None leaves it unchanged


def load_experiment(given: Given, parent: str | None, most: int = MOST_RUNS) -> LoadedExperiment:
    """Load the experiment of a file or manifest. Raises Refusal if it cannot be trained."""
    if given.path.suffix == MANIFEST:
        return _of_manifest(given, parent, most)
    file = load(*given)
    say(file.warnings)
    mlspec = mlspec_of(file, given.path)
    check_size(planned(file), most, Span(str(given.path), 1, 1))
    home = home_of(file, parent)
    return LoadedExperiment(file, mlspec, tuple(expand(file)), home, source=source_of(given.path, file, home))


def home_of(file: ExperimentFile, parent: str | None) -> ExperimentDir:
    """The experiment's directory."""
    return ExperimentDir(parent_directory(parent) / file.name)


def source_of(path: Path, file: ExperimentFile, home: ExperimentDir) -> Source | None:
    """Where the experiment comes from; None for a file that its own directory holds."""
    return file_source(path, file.name if NAME in file.origins else None, home)


def mlspec_of(file: ExperimentFile, path: Path) -> str:
    """The dotted path of the file's MLSpec. Raises Refusal if the file has none."""
    if file.mlspec is None:
        hint = "add `mlspec: package.module:Class` at the top level of the file"
        span = file.origins.get((), Span(str(path), 1, 1))
        raise Refusal([Problem("E510", "`mlspec` is missing", span, hint=hint)])
    return file.mlspec


def check_size(runs: int, most: int, top: Span) -> None:
    """Raises Refusal when there are more runs than allowed."""
    if runs > most:
        found, expected = f"{runs:,} runs", f"at most {most:,}"
        message, hint = "too many runs to train", "`--max-runs` raises the limit"
        raise Refusal([Problem("E511", message, top, found=found, expected=expected, hint=hint)])


def _unwelcome(change: Argument) -> Problem:
    hint = "change the experiment file and expand it again"
    return Problem("E335", "a manifest cannot be changed", change.span(), hint=hint)


def _of_manifest(given: Given, parent: str | None, most: int) -> LoadedExperiment:
    """What a manifest with its header says, exactly; replacements come again where memory runs out again."""
    if said := changes(given):
        raise Refusal(map(_unwelcome, said))
    size = given.path.stat().st_size if given.path.is_file() else 0
    text = read(given.path, size).decode(errors="surrogateescape")
    name = SourceName(str(given.path), text)
    file, runs = codec.read_whole(text, name)
    listed = tuple(run for run in runs if run.origin is None)
    check_size(len(listed), most, Span(name, 2, 1))
    return LoadedExperiment(file, mlspec_of(file, given.path), listed, home_of(file, parent))
