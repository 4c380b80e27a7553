"""The leaf config as user code sees it."""

import copy

import pytest

from rapidfire_cli.training.knobs import Knobs, agrees

LEAF = {
    "train": {"epochs": 3, "optimizer": {"name": "SGD"}},
    "user_knobs": {"layers": [1, 2], "args": {"a": 1}},
}


@pytest.fixture
def reads():
    return {}


@pytest.fixture
def cfg(reads):
    return Knobs(LEAF, reads)


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


def test_it_cannot_be_changed(cfg):
    with pytest.raises(TypeError):
        cfg["train"]["epochs"] = 4
    cfg["user_knobs"]["layers"].append(3)
    assert cfg["user_knobs"]["layers"] == [1, 2]


def test_a_deep_copy_is_a_dict_of_ones_own(cfg):
    mine = copy.deepcopy(cfg)
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
