"""Lists that advance together."""

import pytest

from rapidfire_cli.syntax.ast import List
from tests.syntax.reading import ADAM, generator, refused, wrong

PAIR = "a: !zip {with: size, values: [1, 2]}, b: !zip {with: size, values: [x, y]}"


def grid(knobs: str) -> str:
    return f"gridsearch: {{user_knobs: {{{knobs}}}, train: {{epochs: 1, batch_size: 8, {ADAM}}}}}"


def test_a_zip_is_a_list_with_a_label():
    tree = generator(grid(PAIR)).tree
    assert tree["user_knobs"] == {"a": List((1, 2), "size"), "b": List(("x", "y"), "size")}


def test_a_one_key_table_means_the_same():
    twin = PAIR.replace("!zip {", "{'!zip': {").replace("]}", "]}}")
    assert generator(grid(twin)) == generator(grid(PAIR))


def test_a_zip_stands_in_a_random_search_too():
    text = grid(PAIR).replace("gridsearch: {", "randomsearch: {num_runs: 2, ")
    assert generator(text).tree == generator(grid(PAIR)).tree


def test_a_value_may_stand_twice_beside_different_ones():
    assert generator(grid("a: !zip {with: s, values: [1, 1]}, b: !zip {with: s, values: [1, 2]}"))


def test_each_alternative_is_a_context_of_its_own():
    assert generator(grid(f"{PAIR}, c: !list [{{{PAIR}}}, {{{PAIR}, d: 1}}]"))


@pytest.mark.parametrize(
    ("knobs", "codes"),
    [
        ("a: !zip {with: s, values: [1]}", ["E311"]),
        ("a: !zip {with: s, values: [1]}, b: !zip {with: t, values: [1]}", ["E311", "E311"]),
        ("a: !zip {with: s, values: [1]}, b: !list [{c: !zip {with: s, values: [1]}}]", ["E311", "E311"]),
        ("a: !zip {with: s, values: [1]}, b: !zip {with: s, values: [1, 2]}", ["E312"]),
        ("a: !zip {with: s, values: [1, 1]}, b: !zip {with: s, values: [2, 2]}", ["E304"]),
        ("a: !zip {with: s, values: []}, b: !zip {with: s, values: []}", ["E302", "E302"]),
        ("a: !zip {with: s, values: [1, x]}, b: !zip {with: s, values: [1, 2]}", ["E303"]),
        ("a: !zip {with: s, values: [1, !range [1, 2]]}, b: !zip {with: s, values: [1, 2]}", ["E308"]),
    ],
)
def test_a_zip_has_rules(knobs: str, codes: list[str]):
    assert [problem.code for problem in refused(grid(knobs))] == codes


def test_a_label_that_is_nearly_another_is_told_so():
    (first, second) = refused(grid("a: !zip {with: size, values: [1]}, b: !zip {with: sise, values: [1]}"))
    assert (first.hint, second.hint) == ("did you mean `sise`?", "did you mean `size`?")


@pytest.mark.no_cover
def test_ten_thousand_lonely_zips_are_refused_at_once():
    knobs = ", ".join(f"k{place}: !zip {{with: w{place}, values: [1]}}" for place in range(5_000))
    assert len(wrong(grid(knobs))) == 5_000


def test_a_config_and_a_halving_take_no_zip():
    config = grid(PAIR).replace("gridsearch", "config")
    assert [problem.code for problem in refused(config)] == ["E301", "E301"]
    sha = (
        "sha: {num_runs: 2, min_epochs: 1, max_epochs: 2, reduction_factor: 2, metric: loss, direction: min, "
    )
    text = grid(PAIR).replace("gridsearch: {", sha)
    assert [problem.code for problem in refused(text)] == ["E308", "E308"]
