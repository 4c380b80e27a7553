"""Ids and digests."""

from dataclasses import replace
from hashlib import sha256

from hypothesis import given

from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.identity import digest, identify
from rapidfire_cli.stopping.median import MedianRule
from rapidfire_cli.syntax.ast import (
    GridSearch,
    Hyperband,
    List,
    RandomSearch,
    Range,
    SuccessiveHalving,
)
from rapidfire_cli.terms import Execution, Objective, canonical
from tests.manifest.trees import MIXED, file, grids, optimizer

DATA = {"path": "scans/ä", "files": ["a", "b"]}


@given(grids)
def test_a_run_is_known_by_the_hash_of_what_it_is(tree):
    asked = file(GridSearch(tree), mlspec="specs.digits:Digits", data=DATA, seed=7)
    for run in expand(asked):
        whole = {
            "mlspec": "specs.digits:Digits",
            "data": DATA,
            "config": run.leaf,
            "seed": 7,
            "replicate": 0,
        }
        assert run.id == sha256(canonical(whole).encode()).hexdigest()[:16]


def test_an_id_of_today_is_that_of_ever_after():
    assert identify(None, None, 42)('{"train":{"epochs":1}}') == "96b872d3201586e3"
    assert (
        identify("specs.digits:Digits", DATA, 42, replicate=1)('{"train":{"epochs":1}}') == "20fe9610c6817faf"
    )


def test_a_digest_of_today_is_that_of_ever_after():
    assert digest(file(*MIXED)) == "5aee315e584e4680ffb342e7bbe029bdebfaa5ef01acfe616c24cfce1810038f"


def test_the_digest_does_not_depend_on_how_runs_are_called_ranked_or_executed():
    asked = file(*MIXED)
    other = replace(asked, name="other", objective=Objective("loss", "min"), execution=Execution(chunks=4))
    assert digest(asked) == digest(other)


def test_the_digest_does_not_depend_on_the_order_of_keys():
    knobs = {"lr": List((1, 2)), "eps": Range(1e-4, 1e-3, "float")}
    assert digest(file(RandomSearch(knobs, 3))) == digest(
        file(RandomSearch(dict(reversed(knobs.items())), 3))
    )


def test_whatever_changes_the_runs_changes_the_digest():
    lr = Range(1e-4, 1e-3, "float")
    tree = {"train": optimizer(lr)}
    halving = SuccessiveHalving(tree, 8, 1, 8, 2, "loss", "min")
    files = [
        file(RandomSearch(tree, 8)),
        file(RandomSearch(tree, 9)),
        file(RandomSearch(tree, 8), seed=1),
        file(RandomSearch(tree, 8), mlspec="specs.digits:Digits"),
        file(RandomSearch(tree, 8), data={}),
        file(RandomSearch(tree, 8), RandomSearch(tree, 8)),
        file(RandomSearch({"train": optimizer(replace(lr, end=2e-3))}, 8)),
        file(RandomSearch({"train": optimizer(replace(lr, log=True))}, 8)),
        file(RandomSearch({"train": optimizer(replace(lr, step=1e-4))}, 8)),
        file(RandomSearch({"train": optimizer(List((1e-4, 1e-3)))}, 8)),
        file(GridSearch({"train": optimizer(List((1e-4, 1e-3)))})),
        file(GridSearch({"train": optimizer(List((1e-3, 1e-4)))})),
        file(GridSearch({"train": optimizer(List((1e-3, 1e-4)), List((0.1, 0.2)))})),
        file(GridSearch({"train": optimizer(List((1e-3, 1e-4), "a"), List((0.1, 0.2), "a"))})),
        file(halving),
        file(replace(halving, replicates=2)),
        file(replace(halving, metric="top1_accuracy", direction="max")),
        file(replace(halving, min_early_stopping_rate=1)),
        file(replace(halving, mode="async")),
        file(Hyperband(tree, 8, "loss", "min")),
        file(RandomSearch(tree, 8, MedianRule("loss", "min"))),
        file(RandomSearch(tree, 8, MedianRule("loss", "min", 2))),
    ]
    assert len({digest(each) for each in files}) == len(files)
