"""A corpus of hostile files: each is refused with what `hostile/SAID` says, in little time and memory."""

from pathlib import Path
from typing import Any

import pytest

from rapidfire_cli.problems import Problem, Refusal, Span, position, render
from rapidfire_cli.syntax.extends import Source
from rapidfire_cli.syntax.parser import parse

CORPUS = Path(__file__).parent / "hostile"
SAID = CORPUS / "SAID"
LARGE = 100_000  # bytes
CASES = sorted(path for path in CORPUS.iterdir() if path != SAID)


def neighbour(name: str, _file: str) -> Source:
    try:
        return Source(name, (CORPUS / name).read_bytes())
    except OSError:
        raise Refusal([Problem("E501", "file not found", Span(name, 1, 1))]) from None


def problems(case: Path) -> tuple[Problem, ...]:
    with pytest.raises(Refusal) as refusal:
        parse(case.read_bytes(), case.name, opener=neighbour)
    return refusal.value.problems


def timely(case: Path) -> Any:
    """The case; a large one takes several times as long where coverage is measured."""
    marks = [pytest.mark.no_cover] if case.stat().st_size > LARGE else []
    return pytest.param(case, id=case.name, marks=marks)


def said() -> dict[str, str]:
    """By the file's name: code and position of every problem."""
    return dict(line.split(": ", 1) for line in SAID.read_text("utf-8").splitlines())


@pytest.mark.parametrize("case", map(timely, CASES))
def test_a_hostile_file_is_refused_in_place(case: Path):
    found = problems(case)
    places = (
        f"{problem.code} {position(problem.span).removeprefix(f'{case.name}:')}"
        for problem in found
        if problem.span
    )
    assert ", ".join(places) == said()[case.name]
    for problem in found:
        shown = render(problem)
        assert len(shown) < 2000
        assert "\x1b" not in shown


def test_every_case_is_said():
    assert [path.name for path in CASES] == list(said())
    assert len(CASES) >= 60
