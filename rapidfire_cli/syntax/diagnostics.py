"""What the parser collects while it walks a file: problems, warnings, and the place of every value."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from rapidfire_cli.problems import Problem, Severity, Span
from rapidfire_cli.syntax.ast import Path
from rapidfire_cli.syntax.nodes import Alternatives, Interval, Mapping, Node, Scalar, Sequence


@dataclass(slots=True, eq=False)
class Diagnostics:
    """Everything found so far; one error per value, since later checks rest on earlier ones."""

    blamed: set[Span] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    origins: dict[Path, Span] = field(default_factory=dict)
    keys: dict[Path, Span] = field(default_factory=dict)
    errors: int = 0  # including those not shown

    def error(
        self, code: str, message: str, span: Span, *, found: str = "", expected: str = "", hint: str = ""
    ) -> None:
        """Note an error in the value at `span`."""
        self.errors += 1
        if span not in self.blamed:
            self.blamed.add(span)
            self.problems.append(Problem(code, message, span, found, expected, hint))

    def adopt(self, problems: Iterable[Problem]) -> None:
        """Note errors that were found elsewhere."""
        for problem in problems:
            self.errors += 1
            self.problems.append(problem)

    def missing(self, code: str, message: str, parent: Span, *, expected: str) -> None:
        """Note that something is missing; the span of its parent can still get an error of its own."""
        self.errors += 1
        self.problems.append(Problem(code, message, parent, expected=expected))

    def warn(self, code: str, message: str, span: Span, *, hint: str = "") -> None:
        """Note a warning."""
        self.warnings.append(Problem(code, message, span, hint=hint, severity=Severity.WARNING))

    def trace(self, node: Node, path: Path) -> None:
        """Note where a node and all that it holds were written."""
        self.origins[path] = node.span
        match node:
            case Sequence(items) | Alternatives(items):
                for index, item in enumerate(items):
                    self.trace(item, (*path, index))
            case Mapping(entries) | Interval(Mapping(entries)):
                for entry in entries:
                    self.keys[*path, entry.key] = entry.at
                    self.trace(entry.node, (*path, entry.key))
            case Scalar():
                pass
            case _:
                assert_never(node)
