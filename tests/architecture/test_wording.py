"""Texts that people read use the common words of command-line tools."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidfire_cli.problems import TITLES
from tests.architecture.test_house import PACKAGE, modules

AVOIDED = re.compile(
    r"\b((is|are|was|were) no (?!longer)[a-z]+"  # "not a number", "not found", "missing"
    r"|whoever|somebody|anybody|nobody"
    r"|lest|hence|spelt|misspelt|anew"
    r"|is none|be none|none itself"
    r"|stands?"  # "is", "belongs"
    r"|goes on|go on"  # "continues", "is promoted"
    r"|so many|of such)(?! mappings)\b",
    re.IGNORECASE,
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def texts(module: Path) -> Iterator[str]:
    """The string literals of a module, docstrings left out; help is made of those of the command line."""
    tree = ast.parse(module.read_text("utf-8"))
    nodes = list(ast.walk(tree))
    left_out = {id(statement.value) for statement in nodes if isinstance(statement, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.value
        if module.parent.name == "cli" and isinstance(node, DOCUMENTED):
            yield ast.get_docstring(node) or ""


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.relative_to(PACKAGE).as_posix())
def test_no_message_uses_an_avoided_word(module):
    found = [text for text in texts(module) if AVOIDED.search(text) and " " in text]
    assert not found


@pytest.mark.parametrize("code", TITLES)
def test_no_explanation_uses_an_avoided_word(code):
    for name in ("explanation.md", "stderr.txt"):
        text = (PACKAGE / "catalogue" / code / name).read_text("utf-8")
        assert not AVOIDED.search(" ".join(text.split())), name


@pytest.mark.parametrize(
    ("text", "avoided"),
    [
        ("`lr` is no knob", True),
        ("this is no longer supported", False),
        ("a list of such", True),
        ("a list of such mappings", False),
        ("the key stands here", True),
        ("`lr` is not a knob", False),
    ],
)
def test_the_avoided_words_are_whole_words(text, avoided):
    assert bool(AVOIDED.search(text)) is avoided
