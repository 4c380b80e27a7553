"""What Optuna proposes, asked as a fit asks it."""

import json
import math
import random

import pytest

from rapidfire_cli.search.answering import answer
from rapidfire_cli.search.proposing import Ended, Outcome, Pruned, Question, Unfinished
from rapidfire_cli.search.space import recognized
from rapidfire_cli.syntax.ast import AdaptiveSearch, List, Range, Tree
from rapidfire_cli.syntax.parser import parse
from rapidfire_cli.terms import canonical

TREE: dict[str, Tree] = {
    "train": {
        "lr": Range(0.0, 1.0, "float"),
        "optimizer": List(({"name": "SGD", "momentum": Range(0.0, 0.9, "float")}, {"name": "Adam"})),
        "depth": Range(1, 6, "int"),
    }
}


def search(sampler: str = "tpe", tree: dict[str, Tree] = TREE, **more) -> AdaptiveSearch:
    return AdaptiveSearch(tree, 50, "quality", "max", sampler, startup=5, **more)


def config(lr: float, depth: int, momentum: float | None) -> str:
    optimizer = {"name": "Adam"} if momentum is None else {"name": "SGD", "momentum": momentum}
    return canonical({"train": {"lr": lr, "optimizer": optimizer, "depth": depth}})


def known(runs: int, seed: int = 0) -> tuple[tuple[str, Outcome], ...]:
    """Runs whose quality is best at a learning rate of 0.3."""
    draw = random.Random(seed)
    found = []
    for _ in range(runs):
        lr = draw.random()
        momentum = draw.choice([None, draw.uniform(0, 0.9)])
        found.append((config(lr, draw.randint(1, 6), momentum), Ended(-abs(lr - 0.3))))
    return tuple(found)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "qmc"])
def test_a_proposal_follows_from_the_question_alone(sampler):
    asked = Question(search(sampler), 7, 13, known(12))
    first = answer(asked)
    assert first == answer(asked) and first is not None
    assert recognized(TREE, json.loads(first)) is not None
    assert first not in {config for config, _ in asked.known}
    assert answer(Question(search(sampler), 8, 13, known(12))) != first


@pytest.mark.parametrize(("sampler", "many"), [("tpe", 3), ("gp", 1)])
def test_proposals_are_better_than_draws(sampler, many):
    asked = [Question(search(sampler), seed, 25, known(24, seed)) for seed in range(many)]
    rates = [json.loads(answer(each) or "")["train"]["lr"] for each in asked]
    assert sorted(abs(rate - 0.3) for rate in rates)[many // 2] < 0.1


def test_direction_matters():
    least = AdaptiveSearch(TREE, 50, "quality", "min", startup=5)
    rates = [
        json.loads(answer(Question(least, seed, 25, known(24, seed))) or "")["train"]["lr"]
        for seed in range(8)
    ]
    assert sorted(abs(rate - 0.3) for rate in rates)[4] > 0.2


def test_pruned_runs_rank_below_those_that_were_trained_to_the_end():
    """With values as good as those of the others, they still repel."""
    cut = tuple(
        (config, Pruned(1, found.value or 0)) for config, found in known(12, 1) if isinstance(found, Ended)
    )
    ended = tuple((config, Ended(found.value)) for config, found in cut)
    asked = [Question(search(), 7, 25, (*known(12), *more)) for more in (cut, ended)]
    assert answer(asked[0]) == answer(asked[0]) != answer(asked[1])


def test_failed_and_unfinished_runs_and_foreign_configs_are_known():
    foreign = canonical({"train": {"lr": 5}})
    unfinished = tuple((config(lr, 1, 0.8), Unfinished()) for lr in (0.27, 0.28, 0.29))
    asked = (*known(8), (config(0.5, 1, None), Ended(None)), *unfinished)
    assert answer(Question(search(), 7, 9, (*asked, (foreign, Ended(9.0))))) == answer(
        Question(search(), 7, 9, asked)
    )
    assert answer(Question(search(), 7, 9, asked)) != answer(Question(search(), 7, 9, known(8)))


def test_a_proposal_keeps_to_the_filters():
    text = """mlspec: m:C
search: {num_runs: 9, metric: q, direction: max, where: train.batch_size >= 40, train: {
  epochs: 1, batch_size: !list [8, 16, 32, 64, 128],
  optimizer: {name: Adam, args: {lr: !range {start: 0.1, end: 1.0}}}}}"""
    [group] = parse(text.encode(), "f.yaml").groups
    assert isinstance(group.generator, AdaptiveSearch)
    for seed in range(8):
        proposed = json.loads(answer(Question(group.generator, seed, 1, ())) or "")
        assert proposed["train"]["batch_size"] >= 40


@pytest.mark.parametrize("sampler", ["tpe", "qmc"])
def test_a_search_proposes_what_is_left_of_few_configs_and_then_nothing(sampler):
    few = search(sampler, tree={"a": List((1, 2, 3)), "b": List((1, 2))})
    asked: tuple[tuple[str, Outcome], ...] = ()
    while (found := answer(Question(few, 7, len(asked) + 1, asked))) is not None:
        asked = (*asked, (found, Ended(1.0)))
    assert len({config for config, _ in asked}) == len(asked) == 6


def test_quasi_random_points_fill_the_space_evenly_whatever_the_results_are():
    """Of 16 points, one is in each sixteenth of every range, and a half of each pair of alternatives."""
    found: tuple[tuple[str, Outcome], ...] = ()
    for place in range(1, 17):
        value = Ended(float(place)) if place % 3 else Unfinished()
        found = (*found, (answer(Question(search("qmc"), 7, place, found)) or "", value))
    trains = [json.loads(config)["train"] for config, _ in found]
    assert sorted(int(train["lr"] * 16) for train in trains) == [*range(16)]
    assert sum(train["optimizer"]["name"] == "Adam" for train in trains) == 8
    assert {train["depth"] for train in trains} == {1, 2, 3, 4, 5, 6}


NUMBERS: dict[str, Tree] = {
    "train": {"lr": Range(1e-3, 1.0, "float", log=True), "depth": Range(1, 64, "int", log=True)}
}


def test_an_evolution_strategy_comes_nearer_from_generation_to_generation():
    pytest.importorskip("cmaes")
    cmaes = search("cmaes", tree=NUMBERS)
    found: tuple[tuple[str, Outcome], ...] = ()
    misses = []
    for place in range(1, 49):
        proposed = answer(Question(cmaes, 7, place, found)) or ""
        train = json.loads(proposed)["train"]
        misses.append(abs(math.log10(train["lr"] / 0.1)) + abs(math.log2(train["depth"] / 8)))
        found = (*found, (proposed, Ended(-misses[-1])))
    assert answer(Question(cmaes, 7, 48, found[:-1])) == found[-1][0]
    assert sorted(misses[:12])[6] > 2 * sorted(misses[-12:])[6]
