"""A change of code is a change of tokens: how it is laid out and remarked on is none."""

import pytest

from rapidfire_cli.training.fingerprint import TOKENS, hashed

SOURCE = b"""\
def loss(a, b):
    if a:
        return a - b  # the difference
    return '''one
two'''
"""


@pytest.mark.parametrize(
    "same",
    [
        SOURCE.replace(b"  # the difference", b""),
        b"# -*- coding: utf-8 -*-\n# A remark.\n\n" + SOURCE,
        SOURCE.replace(b"\n", b"\r\n"),
        SOURCE.replace(b"    return '''", b"\n\n  # a remark, indented at will\n    return '''"),
        SOURCE.replace(b"a - b", b"a-b"),
        SOURCE.replace(b"    ", b"\t"),
        SOURCE.rstrip(b"\n"),
        b"\xef\xbb\xbf" + SOURCE,
    ],
)
def test_layout_and_comments_are_no_change(same):
    assert hashed(same) == hashed(SOURCE)
    assert hashed(SOURCE).startswith(TOKENS)


@pytest.mark.parametrize(
    "other",
    [
        SOURCE.replace(b"a - b", b"b - a"),
        SOURCE.replace(b"        return a", b"        a\n        return a"),
        SOURCE.replace(b"\n    return '''", b"\n        return '''"),
        SOURCE.replace(b"one\n", b"one \n"),
        SOURCE.replace(b"if a:", b"if  a or b:"),
        SOURCE + b"loss = None\n",
        b"",
    ],
)
def test_another_token_or_another_indentation_is(other):
    assert hashed(other) != hashed(SOURCE)


@pytest.mark.parametrize(
    "odd", [b"def (:\n  'open\n", b"x = '''never closed", b"\xff\xfe", b"if 1:\n    a\n  b\n"]
)
def test_what_is_no_python_is_hashed_by_its_bytes(odd):
    assert not hashed(odd).startswith(TOKENS)
    assert hashed(odd) != hashed(odd + b"#")
