"""Runs of one shape."""

from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.representatives import heaviest, representatives, shape
from rapidfire_cli.syntax.ast import GridSearch, List
from rapidfire_cli.terms import canonical
from tests.manifest.trees import file


def test_numbers_stand_as_their_types_and_all_else_as_it_is():
    config = canonical({"a": [1, -2.0, 1e-7, 'x\\"1, 2', None, True], "b": {"4": -3}})
    assert shape(config) == r'{"a":[int,float,float,"x\\\"1, 2",null,true],"b":{"4":int}}'


def test_the_first_run_of_each_shape_stands_for_all_of_it():
    tree = {"model": List(("mlp", "cnn")), "lr": List((0.1, 0.2)), "bias": List((True, False))}
    tree |= {"train": {"epochs": 1}}
    assert [run.number for run in representatives(expand(file(GridSearch(tree)))).kinds] == [1, 2, 5, 6]


def test_every_train_section_is_looked_at_once_beside_the_shapes():
    train = {"epochs": 1, "lr": List((0.1, -0.1)), "name": List(("a", "b"))}
    runs = list(expand(file(GridSearch({"train": train, "user_knobs": {"seed": List((1, 2, 3))}}))))

    outline = representatives(runs)

    sections = [{"epochs": 1, "lr": lr, "name": name} for lr in (0.1, -0.1) for name in ("a", "b")]
    assert [run.leaf["train"] for run in outline.kinds] == sections[:2]
    assert [run.leaf["train"] for run in outline.others] == sections[2:]
    assert outline.epochs == dict.fromkeys(range(1, 13), 1)


def test_of_very_many_sections_the_ends_of_each_number_are_looked_at():
    rates = tuple(0.001 * (7 * step % 31) for step in range(31))
    train = {"epochs": 1, "lr": List(rates), "betas": [0.9, List(rates)], "name": List(("a", "b"))}
    runs = list(expand(file(GridSearch({"train": train}))))

    outline = representatives(runs, most=20)

    seen = [run.leaf["train"] for run in (*outline.kinds, *outline.others)]
    for name in ("a", "b"):
        assert {min(rates), max(rates)} <= {one["lr"] for one in seen if one["name"] == name}
        assert {min(rates), max(rates)} <= {one["betas"][1] for one in seen if one["name"] == name}
    assert len(outline.others) <= 20


def test_the_heaviest_run_of_a_shape_has_the_largest_numbers_together():
    train = {
        "epochs": List((9, 1)),
        "batch_size": List((8, 64)),
        "optimizer": {"name": "A", "args": {"lr": 0.1}},
    }
    tree = {"train": train, "user_knobs": {"width": List((16, 512)), "model": List(("mlp", "cnn"))}}
    runs = list(expand(file(GridSearch(tree))))
    found = [(run.leaf["train"]["batch_size"], *run.leaf["user_knobs"].values()) for run in heaviest(runs)]

    assert found[:2] == [(64, "mlp", 512), (64, "cnn", 512)]
    assert {(size, model) for size, model, _ in found} == {(8, "mlp"), (64, "mlp"), (8, "cnn"), (64, "cnn")}
    assert {width for _, _, width in found} == {16, 512}
    assert len(found) <= 2 * 5 and len(heaviest(runs, most=3)) == 3


def test_numbers_that_take_no_memory_make_no_run_heavier():
    optimizer = {"name": "A", "args": {"lr": List((0.1, 0.2))}}
    train = {"epochs": List((1, 9)), "batch_size": 8, "optimizer": optimizer}
    assert [run.number for run in heaviest(expand(file(GridSearch({"train": train}))))] == [1]
