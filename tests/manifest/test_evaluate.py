"""What conditions say of a leaf config."""

import pytest

from rapidfire_cli.manifest.filters.evaluate import question
from rapidfire_cli.manifest.varied import ABSENT
from rapidfire_cli.syntax.conditions.parser import parse
from rapidfire_cli.syntax.conditions.tree import knobs

LEAF = {
    "one": 1,
    "two": 2.0,
    "half": 0.5,
    "name": "adam",
    "on": True,
    "off": False,
    "none": None,
    "list": [1, 2, [3]],
    "large": 2**62,
    "huge": 1e308,
}


def says(condition: str) -> object:
    expression = parse(condition)
    names = [knob.path for knob in knobs(expression)]
    places = {name: place for place, name in enumerate(names)}
    return question(expression, places)([LEAF.get(name, ABSENT) for name in names])


@pytest.mark.parametrize(
    "condition",
    [
        *["one == 1", "one == 1.0", "two > one", "one <= 1 < two", "half * 2 == one", "name == 'adam'"],
        *["name < 'b'", "on", "not off", "on == true", "none == null", "list == [1, 2.0, [3]]"],
        *["one in list", "[3] in list", "3 not in list", "name in ['sgd', 'adam']", "'da' in name"],
        *["one in [true, 1.0]", "on not in [1, null]", "none in [null]", "[3] not in [3]", "one in [one]"],
        *["-one == -1", "7 // two == 3", "7 % two == 1", "one - two + one == 0", "large * 4 > large"],
        *["on or missing", "off and missing == false or on"],
        # values of different kinds are different
        *["one != true", "off != 0", "none != false", "name != 1", "list != 1", "'1' != one"],
    ],
)
def test_what_holds(condition: str):
    assert says(condition) is True
    assert says(f"not ({condition})") is False


@pytest.mark.parametrize(
    "condition",
    [
        # a knob that is absent
        *["missing", "missing == 1", "missing != 1", "missing in [1]", "1 in [missing]", "not missing"],
        *["missing + 1 > 0", "on and missing", "off or missing", "one < 2 < missing"],
        # types that do not fit
        *["name < 1", "one < name", "none < 1", "on < 2", "list < list", "name + 1 == 2", "-name == 1"],
        *["one in two", "one in name", "name in on", "on + 1 == 2", "one and on", "not one", "name or off"],
        # no finite result
        *["one / 0 == 1", "one // 0 == 1", "one % 0.0 == 0", "huge * 10 > 1", "huge / 1e-308 > 1"],
        f"{' * '.join(['large'] * 20)} / two > 1",
    ],
)
def test_what_has_no_answer(condition: str):
    assert says(condition) is ABSENT
    assert says(f"not ({condition})") is ABSENT


@pytest.mark.parametrize(
    "condition", ["off and missing", "missing and off", "one > 1 and name < 1", "3 < 2 < missing"]
)
def test_and_is_false_as_soon_as_a_part_is(condition: str):
    assert says(condition) is False
