"""The leaf config as user code sees it."""

import collections
import copy
import dataclasses
import json
import operator
import pickle
import types

import pytest
import torch
import yaml
from transformers import LlamaConfig

from rapidfire_cli.training.tracked_config import TrackedConfig, agrees

LEAF = {
    "train": {"epochs": 3, "optimizer": {"name": "SGD"}},
    "user_knobs": {"layers": [1, 2], "args": {"a": 1}},
}


@pytest.fixture
def reads():
    return {}


@pytest.fixture
def cfg(reads):
    return TrackedConfig(LEAF, reads)


def changed(**user_knobs):
    return {**LEAF, "user_knobs": {**LEAF["user_knobs"], **user_knobs}}


def test_it_reads_as_a_dict_does(cfg):
    assert cfg["train"]["optimizer"]["name"] == "SGD"
    assert cfg["user_knobs"].get("absent", 5) == 5
    assert "layers" in cfg["user_knobs"]
    assert len(cfg) == 2
    assert list(cfg["train"]) == ["epochs", "optimizer"]
    assert cfg == LEAF
    assert cfg["user_knobs"] == {"layers": [1, 2], "args": {"a": 1}}
    assert dict(cfg["train"]["optimizer"]) == {"name": "SGD"}
    assert dict(**cfg["user_knobs"]["args"]) == {"a": 1}
    assert repr(cfg["user_knobs"]["args"]) == "{'a': 1}"


@pytest.mark.parametrize(
    "write",
    [
        lambda knobs: knobs.__setitem__("a", 2),
        lambda knobs: knobs.__delitem__("a"),
        lambda knobs: knobs.__ior__({"a": 2}),
        lambda knobs: knobs.update(a=2),
        lambda knobs: knobs.setdefault("b", 2),
        lambda knobs: knobs.pop("a"),
        lambda knobs: knobs.popitem(),
        lambda knobs: knobs.clear(),
    ],
)
def test_it_cannot_be_changed_and_says_what_can(cfg, write):
    args = cfg["user_knobs"]["args"]

    with pytest.raises(TypeError, match=r"user_knobs\.args.* cannot be changed; `\.copy\(\)` makes a"):
        write(args)
    assert args == {"a": 1}


def test_a_list_is_a_copy(cfg):
    cfg["user_knobs"]["layers"].append(3)

    assert cfg["user_knobs"]["layers"] == [1, 2]


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, copy.copy, dict.copy, lambda knobs: pickle.loads(pickle.dumps(knobs))]
)
def test_copies_are_dicts_of_ones_own(cfg, duplicate):
    mine = duplicate(cfg if duplicate is not dict.copy else cfg.copy())
    mine["user_knobs"]["args"]["a"] = 2

    assert type(mine["user_knobs"]) is dict
    assert cfg["user_knobs"]["args"]["a"] == 1


def test_a_missing_knob_is_named_by_its_path(cfg):
    with pytest.raises(KeyError, match=r"the config has no user_knobs\.args\.b"):
        cfg["user_knobs"]["args"]["b"]


@pytest.mark.parametrize(
    ("read", "same", "other"),
    [
        (lambda cfg: cfg["user_knobs"]["args"]["a"], changed(args={"a": 1, "b": 2}), changed(args={"a": 2})),
        (lambda cfg: cfg["user_knobs"]["args"]["a"], changed(layers=[]), changed(args={"a": 1.0})),
        (lambda cfg: cfg["user_knobs"]["args"]["a"], changed(layers=[]), changed(args={"a": True})),
        (lambda cfg: cfg["user_knobs"].get("c"), changed(layers=[]), changed(c=None)),
        (lambda cfg: "c" in cfg["user_knobs"], changed(layers=[]), changed(c=1)),
        (lambda cfg: cfg["user_knobs"]["args"], changed(args={}), changed(args=1)),
        (lambda cfg: dict(cfg["user_knobs"]["args"]), changed(layers=[]), changed(args={"a": 1, "b": 2})),
        (lambda cfg: len(cfg["user_knobs"]), {**LEAF, "train": {}}, changed(c=1)),
        (lambda cfg: cfg["user_knobs"] == {}, {**LEAF, "train": {}}, changed(args={"a": 2})),
        (lambda cfg: cfg["user_knobs"]["layers"], changed(args={}), changed(layers=[1, 2, 3])),
        (lambda cfg: copy.deepcopy(cfg["user_knobs"]), {**LEAF, "train": {}}, changed(args={})),
    ],
)
def test_what_was_read_tells_which_other_configs_would_read_the_same(cfg, reads, read, same, other):
    read(cfg)

    assert agrees(reads, LEAF)
    assert agrees(reads, same)
    assert not agrees(reads, other)


def test_what_was_not_read_does_not_matter(cfg, reads):
    assert agrees(reads, {})


@dataclasses.dataclass
class Holder:
    knobs: dict


def keywords(**given):
    return given


def matched(knobs):
    match knobs:
        case {"a": value, **rest}:
            return value, rest


def in_an_attribute(knobs):
    vars(holder := types.SimpleNamespace()).update(knobs)
    return vars(holder)


WAYS = {  # to read a mapping, beside looking up one key
    "json": json.dumps,
    "sorted json": lambda knobs: json.dumps(knobs, sort_keys=True, indent=1),
    "yaml": yaml.safe_dump,
    "yaml in C": lambda knobs: yaml.dump(knobs, Dumper=yaml.CSafeDumper),
    "keywords": lambda knobs: keywords(**knobs),
    "keywords of dict": lambda knobs: dict(**knobs),
    "keywords in C": lambda knobs: types.SimpleNamespace(**knobs),
    "dict": dict,
    "unpacking": lambda knobs: {"b": 0, **knobs},
    "update": lambda knobs: (mine := {}).update(knobs) or mine,
    "in an attribute": in_an_attribute,
    "or": lambda knobs: knobs | {"b": 0},
    "or from the right": lambda knobs: {"b": 0} | knobs,
    "in-place or": lambda knobs: operator.ior({}, knobs),
    "shallow copy": copy.copy,
    "deep copy": copy.deepcopy,
    "copy": lambda knobs: knobs.copy(),
    "pickle": lambda knobs: pickle.loads(pickle.dumps(knobs)),
    "pickle without C": lambda knobs: pickle.loads(pickle._dumps(knobs)),
    "equal": lambda knobs: knobs == {"a": 1},
    "equal from the right": lambda knobs: {"a": 1} == knobs,  # noqa: SIM300
    "unequal": lambda knobs: knobs != {"a": 1},
    "unequal from the right": lambda knobs: {"a": 1} != knobs,  # noqa: SIM300
    "list": list,
    "set": set,
    "largest": lambda knobs: max(knobs, default=None),
    "reversed": lambda knobs: list(reversed(knobs)),
    "length": len,
    "truth": bool,
    "keys": lambda knobs: list(knobs.keys()),
    "values": lambda knobs: list(knobs.values()),
    "items": lambda knobs: list(knobs.items()),
    "key in keys": lambda knobs: "a" in knobs.keys(),  # noqa: SIM118
    "ordered": collections.OrderedDict,
    "user dict": collections.UserDict,
    "chain": lambda knobs: dict(collections.ChainMap(knobs)),
    "fromkeys": dict.fromkeys,
    "fromkeys of its class": lambda knobs: knobs.fromkeys(knobs),
    "proxy": lambda knobs: dict(types.MappingProxyType(knobs)),
    "made anew by its type": lambda knobs: type(knobs)((key, value) for key, value in knobs.items()),
    "made anew by its type in parts": lambda knobs: type(knobs)(knobs, b=0),
    "a dataclass as a dict": lambda knobs: dataclasses.asdict(Holder(knobs)),
    "match": matched,
    "format": lambda knobs: "%(a)s" % knobs if "a" in knobs else None,  # noqa: UP031
    "format_map": lambda knobs: "{a}".format_map(knobs) if "a" in knobs else None,
    "eval": lambda knobs: eval("a", {"a": None}, knobs),
    "repr": repr,
}
MAPPINGS = ({}, {"a": 1}, {"a": 2}, {"a": {"b": 1}}, {"a": {}}, {"a": 1, "c": {}}, {"c": 1}, {"c": 1, "a": 1})


@pytest.mark.parametrize("read", WAYS.values(), ids=WAYS)
def test_a_dict_is_read_in_every_way_and_each_read_is_recorded(read):
    for mapping in MAPPINGS:
        reads = {}
        result = read(TrackedConfig({"args": mapping}, reads)["args"])

        assert result == read(mapping)
        for other in MAPPINGS:
            if agrees(reads, {"args": other}):
                assert read(other) == result


@pytest.mark.parametrize(
    "read",
    [
        lambda knobs: dict.get(knobs, "a"),
        lambda knobs: dict.__getitem__(knobs, "a"),
        lambda knobs: dict.pop(knobs, "a"),
        lambda knobs: dict.setdefault(knobs, "a", 2),
        lambda knobs: setattr(holder := Holder({}), "__dict__", knobs) or holder.a,
    ],
)
def test_a_read_past_its_methods_fails_and_says_what_to_do(cfg, reads, read):
    with pytest.raises(TypeError, match=r"`a` cannot be read .*: `\.copy\(\)` makes a plain dict of it"):
        read(cfg["user_knobs"]["args"])


def test_iterating_past_its_methods_shows_no_knob(cfg):
    memory = [*dict.items(cfg["user_knobs"]["args"])]

    assert not any(isinstance(part, str | int) for pair in memory for part in pair)
    assert "`.copy()` makes a plain dict of it" in repr(memory)


def test_a_config_of_transformers_takes_it_in_and_is_saved(tmp_path):
    rope = {"rope_type": "linear", "factor": 2.0}
    knobs = TrackedConfig({"llama": {"hidden_size": 64, "rope_scaling": rope}}, {})["llama"]
    for number, config in enumerate([LlamaConfig(**knobs), LlamaConfig(rope_scaling=knobs["rope_scaling"])]):
        config.save_pretrained(tmp_path / f"{number}")
        plain = LlamaConfig(rope_scaling={**rope}, hidden_size=config.hidden_size)

        assert config.rope_parameters["rope_theta"] == 10000  # written into what it is given
        assert LlamaConfig.from_pretrained(tmp_path / f"{number}").to_dict() == plain.to_dict()
        assert pickle.loads(pickle.dumps(config)).to_dict() == plain.to_dict()
    assert knobs["rope_scaling"] == rope == {"rope_type": "linear", "factor": 2.0}


def test_what_a_library_has_written_into_was_read_whole(reads, cfg):
    collections.ChainMap(cfg["user_knobs"]["args"])["c"] = 3

    assert not agrees(reads, changed(args={"a": 1, "b": 2}))
    assert cfg["user_knobs"]["args"] == {"a": 1}


def test_a_compiled_model_reads_it_too(reads, cfg):
    scaled = torch.compile(lambda x: x * cfg["user_knobs"]["args"]["a"], backend="eager")

    assert torch.equal(scaled(torch.ones(2)), torch.ones(2))
    assert not agrees(reads, changed(args={"a": 2}))
