"""What a file describes."""

import pytest

from rapidfire_cli.manifest.identity import digest
from rapidfire_cli.manifest.summary import Summary, description, path, summaries
from rapidfire_cli.syntax.ast import Config, GridSearch, Group, SuccessiveHalving
from tests.manifest.trees import MIXED, file


def test_each_group_has_its_kind_and_count():
    assert summaries(file(*MIXED)) == (
        Summary(1, "config", "config", 1),
        Summary(2, "gridsearch", "gridsearch", 4),
        Summary(3, "randomsearch", "randomsearch", 6),
    )


@pytest.mark.parametrize(
    ("group", "spoken"),
    [
        (Group(GridSearch({}), ("gridsearch",)), "gridsearch"),
        (Group(GridSearch({}), ("config_group", "gridsearch")), "config_group"),
        (Group(Config({}), ("config_group", 1, "config")), "config_group[2]"),
        (Group(Config({}), ("config_group", 1, 0, "config")), "config_group[2][1]"),
        (Group(SuccessiveHalving({}, 1, 1, 1, 2, "loss", "min")), "sha"),
    ],
)
def test_a_group_is_named_by_where_it_stands(group, spoken):
    assert path(group) == spoken


def test_the_description_says_what_the_file_describes():
    asked = file(*MIXED, mlspec="specs.digits:Digits")
    assert description(asked) == {
        "experiment": "experiment",
        "mlspec": "specs.digits:Digits",
        "seed": 42,
        "digest": digest(asked),
        "count": 11,
        "groups": [
            {"index": 1, "kind": "config", "path": "config", "count": 1},
            {"index": 2, "kind": "gridsearch", "path": "gridsearch", "count": 4},
            {"index": 3, "kind": "randomsearch", "path": "randomsearch", "count": 6},
        ],
    }


def test_a_group_with_rungs_tells_its_ladder_and_its_cost():
    (group,) = description(file(SuccessiveHalving({}, 4, 1, 4, 2, "loss", "min")))["groups"]
    assert group == {
        "index": 1,
        "kind": "sha",
        "path": "sha",
        "count": 4,
        "rungs": (
            {"bracket": 1, "epochs": 1, "runs": 4},
            {"bracket": 1, "epochs": 2, "runs": 2},
            {"bracket": 1, "epochs": 4, "runs": 1},
        ),
        "run_epochs": {"least": 8, "most": 8, "uncut": 16},
    }
