"""`extends:`: what a file keeps of those it builds on, and where what is wrong is said to be."""

import pytest

from rapidfire_cli.problems import Problem, Refusal, Span, position
from rapidfire_cli.syntax.ast import Config, ExperimentFile, GridSearch, List
from rapidfire_cli.syntax.extends import MAX_FILES, Source
from rapidfire_cli.syntax.parser import parse
from tests.syntax.reading import TRAIN

BASE = f"experiment: base\nmlspec: a.b:C\nseed: 7\ndata: {{path: x, files: [a, b]}}\nconfig:\n  {TRAIN}\n"


def family(**files: str) -> ExperimentFile:
    """The file `top` over the others, named `NAME_SUFFIX`."""
    texts = {name.replace("_", "."): text for name, text in files.items()}

    def opener(path: str, file: str) -> Source:
        name = "/".join([*file.split("/")[:-1], path])
        if name not in texts:
            raise Refusal([Problem("E501", "file not found", Span(name, 1, 1))])
        return Source(name, texts[name].encode())

    top = next(name for name in texts if name.startswith("top"))
    return parse(texts[top].encode(), top, opener=opener)


def refused(**files: str) -> list[str]:
    with pytest.raises(Refusal) as refusal:
        family(**files)
    return [f"{problem.code} {position(problem.span)}" for problem in refusal.value.problems if problem.span]


def config(file: ExperimentFile) -> dict:
    (group,) = file.groups
    return group.generator.tree


def test_a_file_keeps_what_it_does_not_say_but_never_the_name():
    file = family(top_yaml="extends: base.yaml\nseed: 8\n", base_yaml=BASE)
    assert (file.name, file.mlspec, file.seed) == ("top", "a.b:C", 8)
    assert config(file)["train"]["epochs"] == 1


def test_mappings_are_merged_deeply_and_lists_are_replaced():
    text = "extends: base.yaml\ndata: {files: [c], more: null}\nconfig: {train: {epochs: 9}}\n"
    file = family(top_yaml=text, base_yaml=BASE)
    assert file.data == {"path": "x", "files": ["c"], "more": None}
    assert config(file)["train"] == {
        "epochs": 9,
        "batch_size": 8,
        "optimizer": {"name": "Adam", "args": {"lr": 1e-3}},
    }


def test_inherited_knobs_keep_their_order_and_new_ones_follow():
    text = "extends: base.yaml\nconfig: {user_knobs: {a: 1}, train: {compile: true, epochs: 9}}\n"
    tree = config(family(top_yaml=text, base_yaml=BASE))
    assert list(tree) == ["train", "user_knobs"]
    assert list(tree["train"]) == ["epochs", "batch_size", "optimizer", "compile"]


def test_value_sets_are_replaced_whole():
    base = BASE.replace("config:", "gridsearch:").replace("batch_size: 8", "batch_size: !list [8, 16]")
    file = family(
        top_yaml="extends: base.yaml\ngridsearch: {train: {batch_size: !list [32]}}\n", base_yaml=base
    )
    assert config(file)["train"]["batch_size"] == List((32,))
    file = family(top_yaml="extends: base.yaml\ngridsearch: {train: {batch_size: 4}}\n", base_yaml=base)
    assert config(file)["train"]["batch_size"] == 4


def test_another_name_leaves_nothing_of_the_arguments_beside_the_old_one():
    optimizer = "config: {train: {optimizer: {name: SGD, args: {momentum: 0.9}}}}\n"
    file = family(top_yaml=f"extends: base.yaml\n{optimizer}", base_yaml=BASE)
    assert config(file)["train"]["optimizer"] == {"name": "SGD", "args": {"momentum": 0.9}}


@pytest.mark.parametrize(
    ("names", "kept"), [("!list   [SGD, Adam]", ["lr", "eps"]), ("!list [SGD, Muon]", ["eps"])]
)
def test_names_that_are_a_list_are_compared_by_their_values(names, kept):
    optimizer = "gridsearch: {train: {epochs: 1, batch_size: 8, optimizer: {name: %s, args: {%s}}}}\n"
    base = "mlspec: a.b:C\n" + optimizer % ("!list [SGD, Adam]", "lr: 1.0")
    file = family(top_yaml="extends: base.yaml\n" + optimizer % (names, "eps: 0.5"), base_yaml=base)
    assert [*config(file)["train"]["optimizer"]["args"]] == kept


def test_the_same_name_keeps_them():
    optimizer = "config: {train: {optimizer: {name: Adam, args: {eps: 0.1}}}}\n"
    file = family(top_yaml=f"extends: base.yaml\n{optimizer}", base_yaml=BASE)
    assert config(file)["train"]["optimizer"] == {"name": "Adam", "args": {"lr": 1e-3, "eps": 0.1}}


@pytest.mark.parametrize(
    "text",
    [
        f"extends: base.yaml\ngridsearch: {{{TRAIN}, user_knobs: {{a: !list [1]}}}}\n",
        f"extends: base.yaml\nconfig_group: [gridsearch: {{{TRAIN}, user_knobs: {{a: !list [1]}}}}]\n",
    ],
)
def test_naming_another_kind_of_group_replaces_the_inherited_one(text: str):
    (group,) = family(top_yaml=text, base_yaml=BASE).groups
    assert isinstance(group.generator, GridSearch)
    assert group.generator.tree["user_knobs"] == {"a": List((1,))}


def test_a_group_that_stands_alone_under_config_group_is_merged_or_replaced_too():
    base = f"config_group:\n  config:\n    {TRAIN}\n"
    file = family(
        top_yaml="extends: base.yaml\nconfig_group: {config: {train: {epochs: 3}}}\n", base_yaml=base
    )
    assert config(file)["train"]["epochs"] == 3
    grid = f"extends: base.yaml\nconfig_group: {{gridsearch: {{{TRAIN}}}}}\n"
    (group,) = family(top_yaml=grid, base_yaml=base).groups
    assert isinstance(group.generator, GridSearch)


def test_knobs_named_like_groups_are_knobs():
    base = BASE + "  user_knobs: {sha: 1}\n"
    text = "extends: base.yaml\nconfig: {user_knobs: {config: 2}}\n"
    assert config(family(top_yaml=text, base_yaml=base))["user_knobs"] == {"sha": 1, "config": 2}


def test_of_several_files_the_later_wins():
    file = family(
        top_yaml="extends: [base.yaml, other.yaml]\n", base_yaml=BASE, other_yaml="seed: 1\nmlspec: d:E\n"
    )
    assert (file.seed, file.mlspec) == (1, "d:E")


def test_files_extend_files_relative_to_themselves():
    files = {
        "top.yaml": "extends: sub/mid.yaml\n",
        "sub/mid.yaml": "extends: base.yaml\n",
        "sub/base.yaml": BASE,
    }
    assert family(**files).seed == 7


def test_notations_mix():
    base = '[config.train]\nepochs = 1\nbatch_size = 8\noptimizer = {name = "Adam"}\n'
    file = family(
        top_json='{"extends": "mid.yaml", "seed": 3}', mid_yaml="extends: base.toml\n", base_toml=base
    )
    assert (file.seed, file.groups[0].generator) == (
        3,
        Config({"train": {"epochs": 1, "batch_size": 8, "optimizer": {"name": "Adam"}}}),
    )


def test_values_know_the_file_that_says_them():
    file = family(top_yaml="extends: base.yaml\nconfig:\n  train:\n    epochs: 2\n", base_yaml=BASE)
    assert file.origins["config", "train", "epochs"] == Span("top.yaml", 4, 13)
    assert file.origins["config", "train", "batch_size"].file == "base.yaml"
    assert file.origins["seed",] == Span("base.yaml", 3, 7)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"top_yaml": "seed: 1\nextends: no.yaml\n"}, ["E501 top.yaml:2:10"]),
        ({"top_yaml": "extends: [base.yaml, no.yaml]\n", "base_yaml": BASE}, ["E501 top.yaml:1:22"]),
        ({"top_yaml": "extends: top.yaml\n"}, ["E121 top.yaml:1:10"]),
        ({"top_yaml": "extends: a.yaml\n", "a_yaml": "seed: 1\nextends: top.yaml\n"}, ["E121 a.yaml:2:10"]),
        ({"top_yaml": "extends: 3\n"}, ["E203 top.yaml:1:10"]),
        ({"top_yaml": "extends: ''\n"}, ["E206 top.yaml:1:10"]),
        ({"top_yaml": "extends: [a, {b: c}]\n"}, ["E203 top.yaml:1:14"]),
        ({"top_yaml": "extends: !list [a]\n"}, ["E301 top.yaml:1:10"]),
        ({"top_yaml": "extends: a.yaml\n", "a_yaml": "[1]\n"}, ["E203 a.yaml:1:1"]),
        ({"top_yaml": "extends: a.yaml\n", "a_yaml": "a: [1\n"}, ["E104 a.yaml:1:4"]),
        (
            {"top_yaml": "seed: !x 1\nextends: a.yaml\n", "a_yaml": "b: !y 1\nc: [1\n"},
            ["E107 top.yaml:1:7", "E107 a.yaml:1:4", "E104 a.yaml:2:4"],
        ),
        (
            {
                "top_yaml": "extends: base.yaml\nconfig: {train: {epochs: 0}}\n",
                "base_yaml": BASE + "sede: 1\n",
            },
            ["E201 base.yaml:7:1", "E204 top.yaml:2:26"],
        ),
        ({"top_yaml": "extends: a.yaml\n", "a_yaml": "seed: 1\n"}, ["E207 top.yaml:1:1"]),
        ({"top_yaml": "extends: []\n"}, ["E207 top.yaml:1:1"]),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(files: dict[str, str], found: list[str]):
    assert refused(**files) == found


def test_a_circle_is_shown_whole():
    with pytest.raises(Refusal) as refusal:
        family(top_yaml="extends: a.yaml\n", a_yaml="extends: b.yaml\n", b_yaml="extends: a.yaml\n")
    assert refusal.value.problems[0].found == "a.yaml → b.yaml → a.yaml"


def test_files_that_double_with_each_level_are_refused():
    files = {f"f{level}.yaml": f"extends: [f{level + 1}.yaml, f{level + 1}.yaml]\n" for level in range(40)}
    assert [
        problem.partition(" ")[0] for problem in refused(**{"top.yaml": "extends: f0.yaml\n"}, **files)
    ] == ["E122"]


def test_as_many_files_as_allowed_are_read():
    paths = ", ".join(["base.yaml"] * (MAX_FILES - 1))
    assert family(top_yaml=f"extends: [{paths}]\n", base_yaml=BASE).seed == 7
