"""For each knob of a run: where its value was written and how it was chosen."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from rapidfire_cli.manifest.knob_paths import dotted, knobs
from rapidfire_cli.manifest.origin import Choice, origin, route
from rapidfire_cli.manifest.varied import every
from rapidfire_cli.problems import Span
from rapidfire_cli.syntax.ast import ExperimentFile, Range
from rapidfire_cli.syntax.overrides import SET
from rapidfire_cli.terms import Plain, Run

Source = Literal["constant", "list", "range"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the value of one knob of one run came from."""

    knob: str
    value: Plain
    span: Span | None
    source: Source
    choices: tuple[Choice, ...]  # the lists that decided on it, outermost first

    @property
    def overridden(self) -> bool:
        """Whether the value comes from the command line, not the file."""
        return self.span is not None and self.span.file == SET


def provenance(file: ExperimentFile, run: Run) -> Iterator[Provenance]:
    """Every knob of the run, in file order."""
    tree = file.groups[run.group - 1].generator.tree
    place = {knob: place for place, knob in enumerate(every(file))}
    for path, value in sorted(knobs(run.leaf), key=lambda found: place.get(dotted(found[0]), len(place))):
        way = route(tree, run.leaf, path)
        drawn = isinstance(way.end, Range)
        listed = any(choice.at == path for choice in way.choices)
        source: Source = "range" if drawn else "list" if listed else "constant"
        yield Provenance(dotted(path), value, origin(file, run, path), source, way.choices)
