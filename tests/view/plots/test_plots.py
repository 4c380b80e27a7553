"""What plots show: where things are placed, and which texts stand beside them."""

import random
import re
from pathlib import Path

import pytest

from rapidfire_cli.view.plots import importance as module
from rapidfire_cli.view.plots.curves import Curve, draw_curves
from rapidfire_cli.view.plots.figure import apart
from rapidfire_cli.view.plots.importance import draw_importance, importance
from rapidfire_cli.view.plots.parallel import Line, axis, draw_parallel
from rapidfire_cli.view.plots.rungs import Bracket, Rung, draw_rungs


@pytest.fixture
def svg(tmp_path) -> Path:
    return tmp_path / "plot.svg"


def texts(svg: Path) -> list[str]:
    """The texts of a plot: matplotlib names each in a comment."""
    return re.findall(r"<!-- (.*?) -->", svg.read_text(), re.DOTALL)


def test_labels_are_moved_apart_and_keep_their_order():
    assert apart([0.5, 0.1, 0.9], 0.05) == [0.5, 0.1, 0.9]
    assert apart([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])
    moved = apart([0.30, 0.31, 0.29, 0.9], 0.1)
    assert sorted(moved) == pytest.approx([0.2, 0.3, 0.4, 0.9])
    assert moved[2] < moved[0] < moved[1]


def test_numbers_are_placed_by_size_and_words_side_by_side():
    assert axis("batch_size", [16, 64, 32]).places == pytest.approx((0, 1, 1 / 3))
    logarithmic = axis("lr", [1e-4, 1e-2, 1e-3, None])
    assert logarithmic.places == pytest.approx((0, 1, 0.5, None))
    assert [label for _, label in logarithmic.labels] == ["0.0001", "0.001", "0.01"]
    words = axis("model", ["vit", "cnn", "vit", None])
    assert words.places == (1.0, 0.0, 1.0, None)
    assert axis("same", [3, 3]).places == (0.5, 0.5)
    assert len(axis("many", [*range(100)]).labels) == 2


def test_the_best_curves_have_labels_with_their_knobs(svg):
    curves = [Curve(run, f"lr 0.{run}", {1: 0.5, 2: 1 - run / 10}) for run in range(1, 10)]
    curves.append(Curve(10, "lr 1", {1: float("nan")}))
    draw_curves(svg, "digits", "top1_accuracy", curves)
    found = texts(svg)
    assert "digits: 10 runs; the best 6 in colour" in found
    assert [text for text in found if text.startswith("run ")] == [
        f"run {run}  {1 - run / 10:.4f}   lr 0.{run}" for run in range(1, 7)
    ]


def test_the_same_data_give_the_same_file(tmp_path):
    for name in ("a.svg", "b.svg"):
        draw_curves(tmp_path / name, "digits", "loss", [Curve(1, "", {1: 0.5, 2: 0.25})])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_parallel_coordinates_have_an_axis_per_knob_and_one_for_the_metric(svg):
    lines = [Line(run, (0.1 * run, ["cnn", "mlp"][run % 2]), 1 / run) for run in range(1, 5)]
    draw_parallel(svg, "digits", "loss", "min", ["lr", "model"], lines)
    found = texts(svg)
    assert {"lr", "model", "loss", "cnn", "mlp", "0.2500", "1.0000"} <= {*found}
    assert "digits: 4 runs, dark is best (lower is better); the best 3 bold" in found


def test_a_knob_that_matters_is_important_and_one_that_does_not_is_not(svg, monkeypatch):
    monkeypatch.setattr(module, "TREES", 20)
    draw = random.Random(1)
    models = [draw.choice(["cnn", "mlp"]) for _ in range(40)]
    rates = [draw.random() for _ in range(40)]
    missing = [None if model == "cnn" else 3 for model in models]
    values = [(model == "cnn") + 0.01 * draw.random() for model in models]
    found = importance({"lr": rates, "model": models}, values)
    (first, most, _), (_, least, _) = found.knobs
    assert first == "model"
    assert most > 1
    assert abs(least) < 0.1
    assert (found.runs, found.r2 > 0.9) == (40, True)
    assert importance({"depth": missing, "lr": rates}, values).knobs[0][0] == "depth"
    draw_importance(svg, "digits", "loss", found)
    assert f"n = 40 runs, R² = {found.r2:.2f}" in "".join(texts(svg))
    assert "mean nothing" not in "".join(texts(svg))


def test_a_plot_of_importances_that_mean_nothing_says_so(svg, monkeypatch):
    monkeypatch.setattr(module, "TREES", 20)
    draw = random.Random(1)
    knobs = {"lr": [draw.random() for _ in range(30)]}
    found = importance(knobs, [draw.random() for _ in range(30)])
    assert found.r2 < 0.3
    assert found.knobs[0][1] < 0.5  # on runs that the forest was fitted to, it would be above 1
    draw_importance(svg, "digits", "loss", found)
    assert "The knobs explain too little of the metric: the bars mean nothing." in texts(svg)


def test_rungs_have_a_panel_per_bracket_and_name_the_best_run(svg):
    first = Rung(1, {1: (0.5, True), 2: (0.4, False), 3: (None, False), 4: (float("nan"), False)}, 0.5)
    brackets = [Bracket(number, (first,), {1: 0.9}, 3) for number in (1, 2)]
    draw_rungs(svg, "digits", "top1_accuracy", 1, brackets)
    found = texts(svg)
    assert {"bracket 1", "bracket 2", "epochs"} <= {*found}
    assert "digits: 4 runs; filled: promoted, hollow: pruned, line: the cut" in found
    assert any("run 1" in text for text in found)
