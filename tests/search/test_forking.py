"""What a fork's knobs are: those of its source, perturbed or drawn anew, within what the file allows."""

import pytest

from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.search.forking import fork, perturbed, populations, sources
from rapidfire_cli.search.space import Choices, Distribution, Floats, Integers
from rapidfire_cli.stopping.rule import Vacancy
from rapidfire_cli.syntax.parser import parse
from rapidfire_cli.terms import Run

FILE = """
pbt:
  population: 4
  perturb_every: 1
  resample: RESAMPLE
  metric: loss
  direction: min
  FILTER
  user_knobs: {kind: !list [{depth: !range [1, 3]}, {width: !list [8, 16, 32]}]}
  train:
    epochs: 4
    batch_size: !list [8, 16, 32]
    optimizer: {name: SGD, args: {lr: !range {start: 0.1, end: 1.0}}}
"""


def forks(resample: str, more: str = "", seed: int = 42) -> tuple[Run, list[Run]]:
    """A source, and many forks of it."""
    text = FILE.replace("RESAMPLE", resample).replace("FILTER", more)
    file = parse(f"seed: {seed}\n{text}".encode(), "file.yaml")
    [each], source = populations(file), next(iter(expand(file)))
    places = [Vacancy(1, 3, place, 2, ((1, 1),)) for place in range(1, 31)]
    return source, [fork(file, each, vacancy, source, 1, 9) for vacancy in places]


@pytest.mark.parametrize(
    ("among", "value", "down", "up"),
    [
        (Floats(0.1, 1.0), 0.5, 0.4, 0.6),
        (Floats(0.1, 1.0), 0.95, 0.76, 1.0),
        (Floats(0.1, 1.0), 0.11, 0.1, 0.132),
        (Integers(1, 100), 50, 40, 60),
        (Integers(1, 100), 2, 1, 3),
        (Integers(0, 10), 0, 0, 1),
        (Integers(16, 128, 16), 64, 48, 80),
        (Integers(16, 128, 16), 128, 96, 128),
        (Choices(3), 1, 0, 2),
        (Choices(3), 2, 1, 2),
        (Choices(1), 0, 0, 0),
    ],
)
def test_a_perturbed_value_moves_a_little_and_stays_within_its_limits(
    among: Distribution, value: float, down: float, up: float
):
    assert perturbed(among, value, up=False) == pytest.approx(down)
    assert perturbed(among, value, up=True) == pytest.approx(up)


def test_without_resampling_every_number_is_a_fifth_more_or_less():
    source, born = forks("0.0")
    rates = {run.leaf["train"]["optimizer"]["args"]["lr"] for run in born}
    rate = source.leaf["train"]["optimizer"]["args"]["lr"]
    assert sorted(rates) == pytest.approx([0.8 * rate, min(1.2 * rate, 1.0)])
    assert {run.leaf["train"]["epochs"] for run in born} == {3}
    assert len({run.seed for run in born}) == 30 and len({run.id for run in born}) == 30


def test_knobs_of_another_alternative_are_drawn_when_a_fork_changes_to_it():
    _, born = forks("0.0")
    kinds = [run.leaf["user_knobs"]["kind"] for run in born]
    assert {tuple(kind) for kind in kinds} == {("depth",), ("width",)}
    assert len({kind["width"] for kind in kinds if "width" in kind}) > 1


def test_with_resampling_only_forks_are_drawn_as_the_first_runs_are():
    _, born = forks("1.0")
    rates = {run.leaf["train"]["optimizer"]["args"]["lr"] for run in born}
    assert len(rates) == 30 and all(0.1 <= rate <= 1.0 for rate in rates)


def test_forks_pass_the_filters_or_keep_the_knobs_of_their_source():
    _, born = forks("1.0", "where: train.batch_size == 16")
    assert {run.leaf["train"]["batch_size"] for run in born} == {16}
    source, alone = forks("0.0", "exclude: train.optimizer.args.lr < 0.99")
    rate = source.leaf["train"]["optimizer"]["args"]["lr"]
    assert all(run.leaf["train"]["optimizer"]["args"]["lr"] >= 0.99 for run in alone), rate


def test_other_seeds_make_other_forks_and_the_same_seed_the_same():
    assert forks("0.5")[1] == forks("0.5")[1]
    assert forks("0.5")[1] != forks("0.5", seed=43)[1]


def test_each_of_the_best_is_forked_and_the_others_are_in_reserve():
    file = parse(FILE.replace("RESAMPLE", "0.5").replace("FILTER", "").encode(), "file.yaml")
    [each] = populations(file)
    best = ((1, 1), (3, 1), (4, 2))
    asked = [sources(each, 42, Vacancy(1, 3, place, 2, best)) for place in range(1, 31)]
    assert {first for first, *_ in asked} == {*best}
    assert all({*found} == {*best} for found in asked)


def test_rounds_and_no_rounds_are_different_populations():
    files = [
        parse(FILE.replace("RESAMPLE", "0.5").replace("FILTER", f"mode: {mode}").encode(), "file.yaml")
        for mode in ("sync", "async")
    ]
    assert len({each.name for file in files for each in populations(file)}) == 2
