"""What a word without quotes means: YAML 1.2's core schema."""

import math

import pytest

from rapidfire_cli.syntax.scalars import CORE, cast, resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("1e-4", 1e-4), ("1.", 1.0), (".5", 0.5), ("-1.5E+3", -1500.0), ("1e3", 1000.0), ("+2.0", 2.0)],
        *[
            ("010", 10),
            ("-7", -7),
            ("+7", 7),
            ("0", 0),
            ("0o17", 15),
            ("0x1F", 31),
            ("9" * 18, int("9" * 18)),
        ],
        *[("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63))],
        *[
            ("true", True),
            ("True", True),
            ("FALSE", False),
            ("", None),
            ("~", None),
            ("null", None),
            ("NULL", None),
        ],
    ],
)
def test_a_word_is_what_the_core_schema_says(text: str, value: object):
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        *["no", "on", "yes", "off", "y", "tRue", "None", "nan", "inf", "<<", "=", ".", "-", "+"],
        *["12:30:45", "2024-01-31", "1_000", "1e", "e5", "1e5.", "1.2.3", "0b1", "0o8", "0xG", "-0x1F", "٣"],
    ],
)
def test_whatever_else_is_a_string(text: str):
    assert resolve(text) == text


@pytest.mark.parametrize("text", [".inf", "+.Inf", "-.INF"])
def test_infinity_is_recognised(text: str):
    assert math.isinf(resolve(text))  # type: ignore[arg-type]


def test_nan_is_recognised():
    assert math.isnan(resolve(".nan"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["9223372036854775808", "-9223372036854775809", "0x" + "f" * 17, "9" * 100_000]
)
def test_an_integer_beyond_64_bits_overflows(text: str):
    with pytest.raises(OverflowError):
        resolve(text)


@pytest.mark.parametrize(
    ("tag", "text", "value"),
    [
        *[("str", "5", "5"), ("int", "5", 5), ("float", "5", 5.0), ("float", "1e3", 1000.0)],
        *[("bool", "true", True), ("null", "", None), ("null", "~", None)],
    ],
)
def test_a_core_tag_says_the_type(tag: str, text: str, value: object):
    assert cast(CORE + tag, text) == value
    assert type(cast(CORE + tag, text)) is type(value)


@pytest.mark.parametrize(
    ("tag", "text"), [("int", "abc"), ("int", "1.5"), ("bool", "1"), ("null", "x"), ("float", "true")]
)
def test_a_core_tag_must_fit(tag: str, text: str):
    with pytest.raises(ValueError, match=text):
        cast(CORE + tag, text)
