"""One optimizer or a list of them, each with groups of parameters: what the grammar takes."""

import json

import pytest
from jsonschema import Draft202012Validator

from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.origin import origin
from rapidfire_cli.manifest.provenance import provenance
from rapidfire_cli.manifest.replacement import changed, misplaced
from rapidfire_cli.manifest.varied import varied
from rapidfire_cli.syntax.overrides import SET, UNSET, arguments
from rapidfire_cli.syntax.parser import parse
from rapidfire_cli.syntax.printer import to_json, to_toml, to_yaml
from rapidfire_cli.syntax.readers import read
from rapidfire_cli.syntax.schema import schema
from tests.syntax.reading import refused, understood, wrong
from tests.syntax.test_schema import plain

SPLIT = """\
gridsearch:
  train:
    epochs: 1
    batch_size: 8
    optimizer:
      - {name: Muon, match: 'layers.*.weight', args: {lr: !list [0.02, 0.01]}}
      - name: AdamW
        args: {lr: 1e-3}
        groups:
          - {match: ['*.bias', 'norm.*'], weight_decay: !list [0.0, 0.1]}
"""
ONE = "config: {{train: {{epochs: 1, batch_size: 8, optimizer: {}}}}}\n"


def optimizers(text: str, *sets: str, unsets: tuple[str, ...] = ()) -> list:
    """What `train.optimizer` is in each run."""
    said = [*arguments(UNSET, unsets), *arguments(SET, sets)]
    return [run.leaf["train"]["optimizer"] for run in expand(parse(text.encode(), "f.yaml", arguments=said))]


def test_value_sets_stand_in_lists_and_groups_as_elsewhere():
    every = optimizers(SPLIT)

    assert [one[0]["args"]["lr"] for one in every] == [0.02, 0.02, 0.01, 0.01]
    assert [one[1]["groups"][0]["weight_decay"] for one in every] == [0.0, 0.1, 0.0, 0.1]
    assert varied(understood(SPLIT)) == (
        "train.optimizer.0.args.lr",
        "train.optimizer.1.groups.0.weight_decay",
    )


def test_a_plain_list_is_one_value_and_a_marked_one_alternatives():
    assert len(optimizers(SPLIT)) == 4
    marked = "gridsearch: {train: {epochs: 1, batch_size: 8, optimizer: !list [{name: SGD}, {name: Adam}]}}"
    assert optimizers(marked) == [{"name": "SGD"}, {"name": "Adam"}]


def test_knobs_have_indexes_in_their_paths_and_know_their_places():
    file = understood(SPLIT)
    run = list(expand(file))[2]

    assert origin(file, run, ("train", "optimizer", "0", "args", "lr"))[1:3] == (6, 72)
    (rate,) = [known for known in provenance(file, run) if known.knob == "train.optimizer.0.args.lr"]
    assert (rate.value, rate.source) == (0.01, "list")


def test_the_command_line_changes_items_of_a_list():
    (first, *_) = optimizers(
        SPLIT, "train.optimizer.0.args.lr=0.5", "+train.optimizer.1.groups.1={match: 'x.*', lr: 0.25}"
    )
    assert first[0]["args"]["lr"] == 0.5
    assert [group["match"] for group in first[1]["groups"]] == [["*.bias", "norm.*"], "x.*"]

    (second, *_) = optimizers(SPLIT, unsets=("train.optimizer.1.groups", "train.optimizer.0"))
    assert second == [{"name": "AdamW", "args": {"lr": 1e-3}}]


@pytest.mark.parametrize("index", ["2", "7", "x", "-1", "9999999999999999999999"])
def test_an_item_that_is_not_there_is_not_changed(index: str):
    with pytest.raises(Exception, match="E530"):
        optimizers(SPLIT, f"train.optimizer.{index}.args.lr=0.5")


def test_every_notation_says_it():
    file = understood(SPLIT)

    for name, text in (("f.yaml", to_yaml(file)), ("f.toml", to_toml(file)), ("f.json", to_json(file))):
        assert parse(text.encode(), name) == file


def test_the_schema_takes_what_the_parser_takes():
    valid = Draft202012Validator(schema(False)).is_valid

    for text in (SPLIT, ONE.format("{name: SGD, groups: [{match: '*.bias', lr: 1, betas: [1, 2]}]}")):
        assert valid(json.loads(json.dumps(plain(read(text.encode(), "f.yaml").root))))


@pytest.mark.parametrize(
    ("optimizer", "found"),
    [
        ("[]", ["E204 1:55"]),
        ("[{args: {lr: 0.1}}]", ["E202 1:56"]),
        ("[{name: SGD}, SGD]", ["E203 1:69"]),
        ("{name: SGD, groups: {match: '*'}}", ["E203 1:75"]),
        ("{name: SGD, groups: [{lr: 0.1}]}", ["E202 1:76"]),
        ("{name: SGD, groups: [{match: 5}]}", ["E203 1:84"]),
        ("{name: SGD, match: []}", ["E204 1:74"]),
        ("[{name: SGD, lr: 0.1}]", ["E201 1:68"]),
        ("5", ["E203 1:55"]),
    ],
)
def test_what_is_wrong_is_located_and_the_schema_refuses_it_too(optimizer: str, found: list[str]):
    text = ONE.format(optimizer)

    assert wrong(text) == found
    whole = json.loads(json.dumps(plain(read(text.encode(), "f.yaml").root)))
    missing = "args: {lr: 0.1}" in text  # the schema does not look into lists for what is missing
    assert Draft202012Validator(schema(False)).is_valid(whole) is missing


def test_a_name_alone_gets_the_mapping_that_was_meant():
    (problem,) = refused(ONE.format("Adam"))
    assert problem.hint == "write {name: Adam}"


def test_out_of_memory_may_change_a_group():
    change = "train.optimizer.1.groups.0.weight_decay: 0.5"
    file = understood(f"execution: {{on_oom: {{{change}, train.batch_size: /2}}}}\n{SPLIT}")
    assert list(misplaced(file)) == []

    run = next(iter(expand(file)))
    leaf = json.loads(changed(run.config, file.execution.on_oom))
    assert leaf["train"]["optimizer"][1]["groups"][0]["weight_decay"] == 0.5
