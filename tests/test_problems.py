"""What people see of a problem."""

import re
from pathlib import Path

import pytest

import rapidfire_cli
from rapidfire_cli.problems import TITLES, WIDTH, Problem, Refusal, Severity, SourceName, Span, render

PACKAGE = Path(rapidfire_cli.__file__).parent


def shown(source: str, column: int, width: int = 1, line: int = 1) -> list[str]:
    """The excerpt: the source line and the carets below it."""
    problem = Problem("E203", "wrong", Span(SourceName("f.yaml", source), line, column, width))
    return render(problem).splitlines()[1:]


def test_a_problem_says_where_what_found_expected_and_what_to_do():
    span = Span(SourceName("f.yaml", "x: 1\na: hi\n"), 2, 4, 2)
    problem = Problem("E203", "`a` is wrong", span, "a string", "an integer", "write 64")
    assert render(problem) == (
        "f.yaml:2:4: error[E203]: `a` is wrong\n"
        "   2 | a: hi\n"
        "     |    ^^\n"
        "found: a string\n"
        "expected: an integer\n"
        "hint: write 64"
    )


def test_a_warning_says_so():
    problem = Problem("W301", "odd", Span("f.yaml", 1, 1), severity=Severity.WARNING)
    assert render(problem) == "f.yaml:1:1: warning[W301]: odd"


def test_a_problem_without_a_place_is_one_line_and_its_details():
    assert render(Problem("E601", "no experiment", hint="fit one")) == (
        "error[E601]: no experiment\nhint: fit one"
    )


def test_a_span_beyond_its_source_shows_no_excerpt():
    assert shown("a: 1", 1, line=9) == []


def test_tabs_keep_the_caret_below_its_word():
    assert shown("\ta:\thi", 5, 2) == ["   1 |     a:    hi", "     |           ^^"]


def test_wide_and_combining_characters_keep_the_caret_below_its_word():
    assert shown("日本: e\u0301 hi", 8, 2) == ["   1 | 日本: e\u0301 hi", "     |         ^^"]
    assert shown("a: 日本", 4, 2) == ["   1 | a: 日本", "     |    ^^^^"]


def test_control_and_format_characters_are_spelt_out():
    assert shown("a: \x1b[31m\u202e", 4) == ["   1 | a: \\x1b[31m\\u202e", "     |    ^^^^"]
    assert "\x1b" not in render(Problem("E201", "key \x1b[2J", found="\x1b", hint="\x9b"))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_they_do_for_yaml(end: str):
    assert shown(f"\ufeffa: 1{end}b: 2{end}", 4, line=2) == ["   2 | b: 2", "     |    ^"]


@pytest.mark.parametrize("column", [1, 2, 60, 119, 120, 121, 200, 4990, 5000])
def test_a_long_line_is_shortened_around_the_caret(column: int):
    source = "".join(chr(ord("a") + index % 26) for index in range(5000))
    line, carets = shown(source, column)
    assert len(line) <= len("   1 | ") + WIDTH + 2
    assert line[carets.index("^")] == source[column - 1]


def test_a_long_span_does_not_fill_the_screen():
    line, carets = shown("x" * 5000, 10, 4000)
    assert len(carets) <= len(line)


def test_a_refusal_carries_every_problem_and_reads_as_their_messages():
    refusal = Refusal([Problem("E201", "one"), Problem("E202", "two")])
    assert [problem.code for problem in refusal.problems] == ["E201", "E202"]
    assert str(refusal) == "error[E201]: one\n\nerror[E202]: two"


def test_the_catalogue_holds_every_code_of_the_package_and_no_other():
    sources = (file.read_text("utf-8") for file in PACKAGE.rglob("*.py") if file.name != "problems.py")
    used = {code for source in sources for code in re.findall(r'"([EW]\d{3})"', source)}
    assert used == set(TITLES)
