"""Hostile text costs a refusal: no crash, no traceback, no memory."""

import tracemalloc

import pytest

from rapidfire_cli.problems import render
from rapidfire_cli.syntax.compose import MAX_DEPTH, MAX_NODES
from rapidfire_cli.syntax.readers import read
from rapidfire_cli.syntax.text import MAX_BYTES
from tests.shares import share
from tests.syntax.reading import refused


def bomb(levels: int, fan: int = 10) -> str:
    """A billion laughs: each line repeats the one before `fan` times."""
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * fan)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * MAX_BYTES,
        "{" * 100_000,
        "{a: " * 60_000,
        "[a: b, " * 30_000,
        "- " * 100_000,
        "? " * 100_000,
        "- ? " * 50_000,
        "!list [" * 30_000,
        "&a [" * 60_000,
        "\n".join(" " * level + "a:" for level in range(700)),
        "[\n" * 100_000,
        "[#\n" * 80_000,
    ],
)
def test_depth_is_refused(text: str):
    (problem,) = refused(text)
    assert problem.code == "E114"


def test_depth_through_aliases_is_depth():
    chain = [f"l0: &l0 {'[' * 40}{']' * 40}", f"l1: &l1 {'[' * 20}*l0{']' * 20}", "l2: [[[[*l1]]]]"]
    assert refused("\n".join(chain))[0].code == "E114"


def test_the_deepest_that_is_allowed_is_read():
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert read(text.encode(), "f.yaml").problems == ()


def test_a_billion_laughs_are_refused_in_little_memory():
    tracemalloc.start()
    (problem,) = refused(bomb(30))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert problem.code == "E115"
    assert peak < 10 * 2**20


def test_merged_laughs_are_counted_too():
    lines = ["m0: &m0 {a: [x, x, x, x, x, x, x, x, x, x]}"]
    lines += [
        f"m{n}: &m{n} {{" + ", ".join(f"k{k}: {{<<: *m{n - 1}}}" for k in range(10)) + "}"
        for n in range(1, 9)
    ]
    assert refused("\n".join(lines))[-1].code == "E115"


@pytest.mark.no_cover
def test_as_many_values_as_allowed_are_read():
    text = "[" + "1," * (MAX_NODES - 1) + "]"
    assert read(text.encode(), "f.yaml").problems == ()
    (problem,) = refused("[" + "1," * MAX_NODES + "]")
    assert problem.code == "E115"


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("name", "text"),
    share(
        [
            ("f.yaml", "config_group:\n" + "- config: {train: {epochs: 1, batch_size: 8}}\n" * 20_000),
            (
                "f.json",
                '{"config_group": [' + ", ".join(['{"config": {"train": {"epochs": 1}}}'] * 20_000) + "]}",
            ),
            ("f.toml", "[[config_group]]\nconfig = {train = {epochs = 1, batch_size = 8}}\n" * 20_000),
        ],
        3,
    ),
)
def test_a_file_that_may_be_larger_may_hold_more_values(name: str, text: str):
    data = text.encode()
    assert read(data, name, max_bytes=2**21).problems == ()


def test_fewer_bytes_allow_no_fewer_values():
    assert read(b"[1, 2, 3]", "f.yaml", max_bytes=10).problems == ()


def test_a_file_beyond_the_limit_is_not_read():
    assert [problem.code for problem in refused(b" " * (MAX_BYTES + 1))] == ["E101"]


@pytest.mark.no_cover
def test_eighteen_thousand_wrong_keys_are_all_reported():
    problems = refused("\n".join(f"seeed{index}:" for index in range(18_000)))
    assert [problem.code for problem in problems].count("E201") == 18_000
    assert sum(problem.hint.startswith("did you mean") for problem in problems) <= 100


@pytest.mark.parametrize(
    "text",
    [
        "a" * MAX_BYTES,
        '"' + "a " * 100_000 + '"',
        "a: |\n" + "  x\n" * 60_000,
        "#" * 250_000,
        "\n" * 250_000,
        "a: " + "9" * 200_000,
        "a: 0x" + "f" * 200_000,
        "a: 1e" + "9" * 200_000,
        "a: *" + "x" * 200_000,
        "a: !" + "x" * 200_000,
        "? " + "x" * 200_000,
        "a: &" + "x" * 200_000 + " 1",
        "%TAG ! " + "x" * 200_000 + "\n---\na: !list [1]",
        "config: {train: {optimizer: {name: " + "x" * 200_000 + "}}}",
        "x" * 1000 + ": 1",
        "sha: {num_runs: 1, min_epochs: 1, max_epochs: 9, reduction_factor: 9, metric: a, direction: min,"
        " min_early_stopping_rate: 9223372036854775807, train: {}}",
    ],
)
def test_long_things_are_refused_in_short_words(text: str):
    for problem in refused(text):
        assert len(render(problem)) < 2000
