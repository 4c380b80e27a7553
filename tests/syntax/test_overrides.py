"""`--set` and `--unset`: what they change, and how an argument that is wrong is shown."""

import pytest

from rapidfire_cli.problems import Refusal, position
from rapidfire_cli.syntax.ast import ExperimentFile, List, RandomSearch, Range
from rapidfire_cli.syntax.overrides import SET, UNSET, arguments
from rapidfire_cli.syntax.parser import parse
from tests.syntax.reading import TRAIN

FILE = f"""\
mlspec: a.b:C
config_group:
  - config:
      user_knobs: {{model: cnn, a.b: 1}}
      {TRAIN}
  - - gridsearch:
        user_knobs: !list
          - {{model: mlp, hidden: !list [8, 16]}}
          - {{model: cnn}}
        {TRAIN}
    - randomsearch:
        num_runs: 4
        train: {{epochs: 1, batch_size: 8, optimizer: {{name: SGD, args: {{lr: !range [0.1, 0.2]}}}}}}
"""


def changed(*sets: str, unsets: tuple[str, ...] = ()) -> ExperimentFile:
    said = [*arguments(UNSET, unsets), *arguments(SET, sets)]
    return parse(FILE.encode(), "f.yaml", arguments=said)


def refused(*sets: str, unsets: tuple[str, ...] = ()) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        changed(*sets, unsets=unsets)
    return refusal.value


def wrong(*sets: str, unsets: tuple[str, ...] = ()) -> list[str]:
    problems = refused(*sets, unsets=unsets).problems
    return [f"{problem.code} {position(problem.span)}" for problem in problems]


def knob(file: ExperimentFile, *path: str) -> list:
    """The knob in every group; None where it is not."""
    found = []
    for group in file.groups:
        tree = group.generator.tree
        for key in path:
            tree = tree.get(key) if isinstance(tree, dict) else None
        found.append(tree)
    return found


def test_a_knob_is_set_in_all_groups():
    assert knob(changed("train.epochs=9"), "train", "epochs") == [9, 9, 9]


def test_a_knob_is_set_in_one_group_counted_in_file_order():
    assert knob(changed("2:train.epochs=9"), "train", "epochs") == [1, 9, 1]
    assert knob(changed("3:train.epochs=9"), "train", "epochs") == [1, 1, 9]


def test_a_knob_is_set_where_it_is_and_nowhere_else():
    file = changed("num_runs=2", "user_knobs.model=vit")
    assert [getattr(group.generator, "num_runs", None) for group in file.groups] == [None, None, 2]
    assert knob(file, "user_knobs", "model")[0] == "vit"
    assert knob(file, "user_knobs")[2] is None


def test_a_knob_is_set_in_every_alternative_that_has_it():
    models = knob(changed("2:user_knobs.model=vit", "user_knobs.hidden=4"), "user_knobs")[1]
    assert models == List(({"model": "vit", "hidden": 4}, {"model": "vit"}))


def test_the_file_is_set_whether_it_says_so_or_not():
    file = changed("seed=7", "mlspec=d:E", "execution.chunks=2", "experiment=x")
    assert (file.seed, file.mlspec, file.execution.chunks, file.name) == (7, "d:E", 2, "x")


def test_values_are_read_by_the_grammar():
    file = changed(
        *["2:train.batch_size=!list [32, 64]", "1:train.optimizer={name: SGD, args: {lr: 1e-2}}"],
        *["+train.lr_scheduler=", "1:user_knobs.model='5'", "3:train.optimizer.args.lr=!range [1, 2.0]"],
    )
    assert knob(file, "train", "batch_size")[1] == List((32, 64))
    assert knob(file, "train", "optimizer")[0] == {"name": "SGD", "args": {"lr": 0.01}}
    assert knob(file, "train", "lr_scheduler") == [None, None, None]
    assert knob(file, "user_knobs", "model")[0] == "5"
    assert knob(file, "train", "optimizer", "args", "lr")[2] == Range(1.0, 2.0, "float")


def test_a_plus_adds_a_path_and_the_mappings_on_its_way():
    assert (
        knob(changed("+train.optimizer.args.betas.x=1"), "train", "optimizer", "args", "betas")
        == [{"x": 1}] * 3
    )
    for spelling in ("+3:user_knobs.new=1", "3:+user_knobs.new=1"):
        assert knob(changed(spelling), "user_knobs")[2] == {"new": 1}


def test_a_key_with_a_dot_stands_in_quotes():
    assert knob(changed('1:user_knobs."a.b"=2'), "user_knobs", "a.b")[0] == 2


def test_unset_takes_a_knob_away():
    file = changed(unsets=("train.optimizer.args.lr", "1:user_knobs", "mlspec"))
    assert knob(file, "train", "optimizer", "args") == [{}, {}, {}]
    assert [tree is None for tree in knob(file, "user_knobs")] == [True, False, True]
    assert file.mlspec is None


def test_what_is_unset_may_be_set_anew():
    file = changed("+1:train.optimizer.args.lr=1.0", unsets=("1:train.optimizer.args",))
    assert knob(file, "train", "optimizer", "args")[0] == {"lr": 1.0}


def test_arguments_are_heeded_one_after_the_other():
    assert knob(changed("train.epochs=2", "2:train.epochs=3"), "train", "epochs") == [2, 3, 2]


def test_a_value_from_the_command_line_knows_its_place():
    file = changed("seed=7", "train.epochs=9")
    span = file.origins["config_group", 0, "config", "train", "epochs"]
    assert (span.file, span.line, span.column) == (SET, 2, 14)
    assert isinstance(file.groups[2].generator, RandomSearch)


@pytest.mark.parametrize(
    ("argument", "found"),
    [
        ("train.epohcs=1", "E530 --set:1:1"),
        ("2:train.epohcs=1", "E530 --set:1:3"),
        ("1:num_runs=2", "E530 --set:1:3"),
        ("data.path=x", "E530 --set:1:1"),
        ("+train.epochs.x=1", "E530 --set:1:2"),
        ("extends=x", "E530 --set:1:1"),
        ("config_group=[]", "E530 --set:1:1"),
        ("9:train.epochs=1", "E532 --set:1:3"),
        ("train.epochs", "E531 --set:1:1"),
        ("=1", "E531 --set:1:1"),
        ("a..b=1", "E531 --set:1:1"),
        ("a b=1", "E531 --set:1:1"),
        ("0:a=1", "E531 --set:1:1"),
        ("", "E531 --set:1:1"),
        ("train.epochs=0", "E204 --set:1:14"),
        ("+train.epohcs=1", "E201 --set:1:8"),
        ("execution.chunk=1", "E201 --set:1:11"),
        ("train.epochs=[1", "E104 --set:1:14"),
        ("train.epochs=!foo 1", "E107 --set:1:14"),
        ("train.epochs=1\x00", "E103 --set:1:15"),
        ("train.epochs=\udcff", "E102 --set:1:14"),
        ("1:train.batch_size=!list [1]", "E301 --set:1:20"),
        ("train.epochs=" + "[" * 100_000, "E114 --set:1:78"),
    ],
)
def test_what_is_wrong_is_shown_in_the_argument(argument: str, found: str):
    assert found in wrong(argument)


def test_nothing_to_unset_is_an_error_too():
    for argument in ("train.epohcs", "seed", "data"):
        assert wrong(unsets=(argument,)) == ["E530 --unset:1:1"]
    for argument in ("train.epochs=1", "+train.epochs"):
        assert wrong(unsets=(argument,)) == ["E531 --unset:1:1"]


def test_all_wrong_arguments_are_reported_each_on_its_line():
    assert wrong("a=1", "seed=2", "x", unsets=("b",)) == [
        "E530 --unset:1:1",
        "E530 --set:1:1",
        "E531 --set:3:1",
    ]


def test_an_unknown_path_is_compared_with_those_there_are():
    assert "did you mean `train.optimizer.args.lr`?" in refused("train.optimzer.args.lr=1").problems[0].hint
    assert "use `--set +train.foo=…` to add it" in refused("train.foo=1").problems[0].hint
    assert "did you mean `train.optimizer.args.lr`?" in refused("lr=3").problems[0].hint
