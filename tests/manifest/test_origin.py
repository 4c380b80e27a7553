"""From a run back to the file."""

from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.origin import key_of, origin
from rapidfire_cli.problems import Span
from rapidfire_cli.syntax.ast import (
    ExperimentFile,
    Generator,
    GridSearch,
    Group,
    List,
    Path,
    RandomSearch,
    Range,
    SuccessiveHalving,
    Tree,
)

AT = ("config_group", 0, "generator")


def written(generator: Generator, *places: Path) -> ExperimentFile:
    """A file in which each place of the generator stands on a line of its own, the generator on line 1."""
    origins = {(*AT, *place): Span("e.yaml", line, 1) for line, place in enumerate(((), *places), 1)}
    return ExperimentFile("e", (Group(generator, AT),), origins=origins)


def test_a_knob_that_should_not_be_there_is_pointed_at_by_its_key():
    tree: Tree = {"o": List(({"args": {"lr": 1, "momentum": 2}}, {"args": {"lr": List((1, 3))}}))}
    names = {
        (*AT, "o"): Span("e.yaml", 1, 1),
        (*AT, "o", 0, "args", "momentum"): Span("e.yaml", 2, 7),
        (*AT, "o", 1, "args", "lr"): Span("e.yaml", 3, 7),
    }
    file = ExperimentFile("e", (Group(GridSearch(tree), AT),), keys=names)
    first, second, _ = expand(file)
    assert key_of(file, first, ("o", "args", "momentum")) == Span("e.yaml", 2, 7)
    assert key_of(file, second, ("o", "args", "lr")) == Span("e.yaml", 3, 7)


def lines(file: ExperimentFile, *knob: str | int) -> list[int | None]:
    spans = [origin(file, run, knob) for run in expand(file)]
    return [span.line if span else None for span in spans]


def test_a_constant_comes_from_where_it_stands():
    assert lines(written(GridSearch({"a": {"b": 1}}), ("a",), ("a", "b")), "a", "b") == [3]


def test_a_listed_value_comes_from_its_place_in_the_list():
    file = written(GridSearch({"a": List((1, 2))}), ("a",), ("a", 0), ("a", 1))
    assert lines(file, "a") == [3, 4]


def test_a_knob_of_an_alternative_comes_from_the_alternative_that_the_run_took():
    adam, sgd = {"lr": 0.1, "eps": List((1, 2))}, {"lr": 0.1, "momentum": 0.9}
    places: tuple[Path, ...] = (("o", 0, "lr"), ("o", 0, "eps", 1), ("o", 1, "lr"), ("o", 1, "momentum"))
    file = written(GridSearch({"o": List((adam, sgd))}), *places)
    assert lines(file, "o", "lr") == [2, 2, 4]
    assert lines(file, "o", "eps") == [1, 3, 1]
    assert lines(file, "o", "momentum") == [1, 1, 5]


def test_a_drawn_value_comes_from_its_range():
    branches = List(({"lr": Range(0.0, 1.0, "float")}, {"lr": Range(2, 3, "int")}))
    file = written(RandomSearch({"o": branches}, 8), ("o", 0, "lr"), ("o", 1, "lr"))
    drawn = [run.leaf["o"]["lr"] for run in expand(file)]
    assert lines(file, "o", "lr") == [2 if isinstance(value, float) else 3 for value in drawn]
    assert len(set(lines(file, "o", "lr"))) == 2


def test_a_step_into_a_plain_list_is_an_index_or_its_digits():
    file = written(GridSearch({"s": [{"n": 1}, {"n": List((1, 2))}]}), ("s", 1, "n", 0), ("s", 1, "n", 1))
    assert lines(file, "s", 1, "n") == lines(file, "s", "1", "n") == [2, 3]


def test_a_value_set_within_a_value_set_is_followed():
    file = written(GridSearch({"a": List((List((1, 2)), 3))}), ("a", 0, 0), ("a", 0, 1), ("a", 1))
    assert lines(file, "a") == [2, 3, 4]


def test_a_knob_that_is_not_written_comes_from_its_nearest_parent():
    assert lines(written(GridSearch({"a": {"b": 1}}), ("a",)), "a", "b", "c") == [2]
    assert lines(written(GridSearch({"a": 1})), "x", "y") == [1]


def test_the_epochs_of_successive_halving_come_from_max_epochs():
    tree = {"train": {"epochs": 8, "lr": Range(0.0, 1.0, "float")}}
    file = written(SuccessiveHalving(tree, 2, 1, 8, 2, "loss", "min"), ("train", "lr"), ("max_epochs",))
    assert lines(file, "train", "epochs") == [3, 3]


def test_a_file_that_was_never_written_has_no_places():
    file = ExperimentFile("e", (Group(GridSearch({"a": 1})),))
    assert lines(file, "a") == [None]
