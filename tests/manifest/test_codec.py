"""The lines of manifest.jsonl."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidfire_cli.manifest.codec import read, without_torn_line, write
from rapidfire_cli.manifest.expand import expand, jsonl
from rapidfire_cli.problems import Refusal, Span
from rapidfire_cli.syntax.ast import GridSearch
from rapidfire_cli.terms import Clone, Fork, OomRetry, Proposal, Run, WarmStart
from tests.manifest.trees import MIXED, file, grids

GOOD = {"number": 1, "id": "0123456789abcdef", "group": 1, "config": {"train": {"epochs": 1}}, "seed": 42}


def refused(text: str) -> list[tuple[str, Span | None]]:
    with pytest.raises(Refusal) as refusal:
        read(text, "manifest.jsonl")
    return [(problem.message, problem.span) for problem in refusal.value.problems]


def test_a_line_says_what_a_run_is():
    run = Run(3, "0123456789abcdef", 2, '{"train":{"epochs":1}}', 42)
    assert write(run) == (
        '{"number":3,"id":"0123456789abcdef","group":2,"config":{"train":{"epochs":1}},"seed":42}\n'
    )


def test_a_replicate_is_said_only_where_there_is_one():
    assert json.loads(write(Run(1, "0123456789abcdef", 1, "{}", 42, replicate=2)))["replicate"] == 2


@given(grids, st.integers(0, 3))
def test_what_is_written_reads_back(tree, replicate):
    runs = tuple(
        Run(run.number, run.id, run.group, run.config, run.seed, replicate)
        for run in expand(file(GridSearch(tree), *MIXED))
    )
    assert read("".join(map(write, runs)), "manifest.jsonl") == runs


def test_an_empty_manifest_lists_no_runs():
    assert read("", "manifest.jsonl") == ()


def test_the_last_line_may_lack_its_newline():
    assert len(read("".join(jsonl(file(*MIXED))).removesuffix("\n"), "manifest.jsonl")) == 11


def test_a_config_is_canonical_after_reading_however_it_was_written():
    line = json.dumps({**GOOD, "config": {"b": 1.0, "a": "ä"}}, indent=None)
    assert read(line, "manifest.jsonl")[0].config == '{"a":"ä","b":1.0}'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": 0}, "'number' must be an integer of at least 1"),
        ({"number": True}, "'number' must be an integer of at least 1"),
        ({"number": 1.0}, "'number' must be an integer of at least 1"),
        ({"id": "0123456789ABCDEF"}, "'id' must be 16 hex digits"),
        ({"id": None}, "'id' must be 16 hex digits"),
        ({"group": "1"}, "'group' must be an integer of at least 1"),
        ({"config": []}, "'config' must be a mapping"),
        ({"seed": 2**32}, "'seed' must be an integer of at least 0 and below 4,294,967,296"),
        ({"replicate": -1}, "'replicate' must be an integer of at least 0"),
        ({"colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_a_field_that_is_not_what_it_must_be_is_named(change, message):
    ((said, span),) = refused(json.dumps({**GOOD, **change}))
    assert message in said
    assert span == Span("manifest.jsonl", 1, 1)


@pytest.mark.parametrize("field", GOOD)
def test_a_missing_field_is_named(field):
    ((said, _),) = refused(json.dumps({name: value for name, value in GOOD.items() if name != field}))
    assert f"'{field}'" in said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "not valid JSON"),
        ("[]", "not a mapping"),
        ('{"number": 1', "not valid JSON"),
        ('{"number": 1, "number": 2}', "duplicate key"),
        (json.dumps({**GOOD, "config": {"lr": float("nan")}}), "NaN is not valid JSON"),
        (json.dumps({**GOOD, "config": {"name": "\ud800"}}), "surrogates"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_an_invalid_line_is_refused(line, message):
    ((said, _),) = refused(line + "\n")
    assert message in said


def test_every_bad_line_is_reported_with_its_place():
    good = json.dumps(GOOD)
    places = [span for _, span in refused(f"{good}\n{{,}}\n{good}\n\n")]
    assert places == [
        Span("manifest.jsonl", 2, 2),
        Span("manifest.jsonl", 3, 1),
        Span("manifest.jsonl", 4, 1),
    ]


@pytest.mark.parametrize("origin", [OomRetry(3), OomRetry(1, apart=True)])
def test_an_origin_is_said_only_where_there_is_one_and_reads_back(origin):
    run = Run(4, "0" * 16, 1, "{}", 42, 1, origin)
    text = write(run)
    assert f'"run":{origin.run},"why":"oom"}}' in text
    assert "origin" not in write(Run(4, "0" * 16, 1, "{}", 42))
    assert read(text, "manifest.jsonl") == (run,)


def test_a_clone_and_its_warm_start_read_back():
    for warm in (WarmStart("0" * 16, 3), WarmStart("0" * 16, 3, matching=True, keep_schedule=True), None):
        run = Run(4, "0" * 16, 1, "{}", 42, 1, Clone(3), warm)
        assert read(write(run), "manifest.jsonl") == (run,)


def test_a_proposal_and_what_it_knew_read_back():
    for origin in (
        Proposal("a" * 16, 4, basis="b" * 16),
        Proposal("a" * 16, 4, (3,), (1, 2), ((5, 2), (6, 1)), "b" * 16),
    ):
        run = Run(7, "0" * 16, 1, "{}", 42, origin=origin)
        assert read(write(run), "manifest.jsonl") == (run,)


def test_a_fork_reads_back_with_the_weights_that_it_begins_with():
    run = Run(7, "0" * 16, 1, "{}", 9, 0, Fork("a" * 16, 4, 2, 3, 5), WarmStart("b" * 16, 2))
    assert read(write(run), "manifest.jsonl") == (run,)
    fork = {"population": "a" * 16, "epochs": 4, "place": 2, "run": 3, "instead": 5, "why": "fork"}
    assert read(json.dumps({**GOOD, "origin": fork}), "manifest.jsonl")
    for more in ({"population": "a"}, {"place": 0}, {"instead": None}, {"else": 1}):
        with pytest.raises(Refusal, match="'origin' must be"):
            read(json.dumps({**GOOD, "origin": {**fork, **more}}), "manifest.jsonl")


PROPOSAL = {"search": "a" * 16, "place": 4, "basis": "b" * 16, "why": "proposal"}


@pytest.mark.parametrize(
    "more",
    [
        {"place": 0},
        {"search": "a"},
        {"basis": "B" * 16},
        {"unfinished": 3},
        {"failed": [0]},
        {"pruned": [[1]]},
        {"pruned": [[1, 2, 3]]},
        {"pruned": 1},
        {"so": 1},
    ],
)
def test_a_proposal_that_is_none_is_named(more):
    with pytest.raises(Refusal, match="'origin' must be"):
        read(json.dumps({**GOOD, "origin": {**PROPOSAL, **more}}), "manifest.jsonl")
    assert read(json.dumps({**GOOD, "origin": PROPOSAL}), "manifest.jsonl")


@pytest.mark.parametrize(
    "warm", [{}, {"run": 1, "epoch": 1}, {"run": "1", "epoch": 0}, {"run": "1", "epoch": 1, "so": 1}]
)
def test_a_warm_start_that_is_none_is_named(warm):
    line = json.dumps({**GOOD, "warm_start": warm})
    with pytest.raises(Refusal, match="'warm_start' must be"):
        read(line, "manifest.jsonl")


@pytest.mark.parametrize(
    "origin",
    [{}, {"run": 1, "why": "clone", "apart": True}, {"run": 0, "why": "oom"}, {"run": 1, "why": "whim"}, 3],
)
def test_an_origin_that_is_none_is_named(origin):
    line = json.dumps({"number": 1, "id": "0" * 16, "group": 1, "config": {}, "seed": 1, "origin": origin})
    with pytest.raises(Refusal, match="'origin' must be"):
        read(line, "manifest.jsonl")


def test_a_line_that_was_cut_off_is_dropped_wherever_it_was():
    listed = "".join(jsonl(file(*MIXED)))
    born = write(Run(12, "0123456789abcdef", 1, '{"train":{"epochs":1}}', 42, origin=OomRetry(1)))
    for end in range(len(born)):
        assert without_torn_line(listed + born[:end]) == listed
    assert without_torn_line(listed + born) == listed + born
