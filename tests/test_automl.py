"""Python says what files say: the same AST, the same problems, located by the knob's path."""

import enum
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from rapidfire_cli.automl import (
    LIST,
    RANGE,
    AdaptiveSearch,
    GridSearch,
    Hyperband,
    List,
    PopulationTraining,
    RandomSearch,
    Range,
    SuccessiveHalving,
    Zip,
    experiment_file,
)
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.problems import Refusal, render
from rapidfire_cli.syntax.parser import parse
from tests.goldens import agree

CASE = Path(__file__).parents[1] / "rapidfire_cli" / "catalogue" / "E520"


class ViTLayer:
    """Stands for the class that the reference imports from transformers."""


def train(**knobs):
    """A config that holds one value per knob but for these."""
    return {
        "train": {"epochs": 1, "batch_size": 8, "optimizer": {"name": "Adam", "args": {"lr": 1e-3}}, **knobs}
    }


def wrong(ml_config, **facts):
    """The problems as `code path`."""
    with pytest.raises(Refusal) as refusal:
        experiment_file(ml_config, **facts)
    return [
        f"{problem.code} {problem.span.file.removeprefix('<python> ')}" for problem in refusal.value.problems
    ]


# The reference's examples: missing commas and quotes added, the package renamed.

GRID = GridSearch(
    {
        "user_knobs": {"model_type": List(["resnet", "vgg"])},
        "train": {
            "epochs": 3,
            "batch_size": List([128, 256]),
            "optimizer": {"name": "Adam", "args": {"lr": List([1e-4, 1e-6]), "weight_decay": 1e-6}},
        },
        "named_metrics": ["top1_accuracy", "top5_accuracy"],
    }
)
RANDOM = RandomSearch(
    {
        "train": {
            "epochs": 5,
            "batch_size": List([16, 32]),
            "optimizer": {
                "name": "Adam",
                "args": {"lr": Range(1e-4, 9e-4, dtype="float"), "weight_decay": List([1e-4, 1e-5])},
            },
        },
        "named_metrics": ["top1_accuracy"],
    },
    num_runs=7,
)
SHA = SuccessiveHalving(
    {
        "train": {
            "epochs": 10,
            "batch_size": 128,
            "optimizer": {
                "name": "Adam",
                "args": {
                    "lr": Range(1e-5, 9e-5, dtype="float"),
                    "weight_decay": Range(1e-4, 1e-3, dtype="float"),
                },
            },
        },
        "named_metrics": ["top1_accuracy", "top5_accuracy"],
    },
    num_runs=8,
    min_epochs=1,
    max_epochs=8,
    reduction_factor=2,
    metric="top5_accuracy",
    direction="max",
)
MIXED = [
    {
        "user_knobs": {"model_type": "vit"},
        "train": {
            "epochs": 1,
            "batch_size": 256,
            "optimizer": {"name": "Adam", "args": {"lr": 1e-4, "weight_decay": 1e-6}},
        },
        "named_metrics": ["top1_accuracy", "top5_accuracy"],
        "fsdp_layer_cls": {ViTLayer},
    },
    GridSearch(
        {
            "user_knobs": {"model_type": "vit"},
            "train": {
                "epochs": 1,
                "batch_size": 128,
                "optimizer": {
                    "name": "Adam",
                    "args": {"lr": List([1e-4, 1e-5]), "weight_decay": List([1e-6, 1e-5])},
                },
            },
            "named_metrics": ["top1_accuracy", "top5_accuracy"],
            "fsdp_layer_cls": {ViTLayer},
        }
    ),
    RandomSearch(
        {
            "user_knobs": {"model_type": "resnet"},
            "train": {
                "epochs": 1,
                "batch_size": List([64, 128, 256]),
                "optimizer": {
                    "name": "Adam",
                    "args": {
                        "lr": Range(1e-4, 9e-4, dtype="float"),
                        "weight_decay": Range(1e-4, 1e-5, dtype="float"),
                    },
                },
            },
            "named_metrics": ["top1_accuracy", "top5_accuracy"],
        },
        num_runs=6,
    ),
]


@pytest.mark.parametrize(
    ("ml_config", "runs"),
    [(GRID, 8), (RANDOM, 7), (SHA, 8), (MIXED, 11)],
    ids=["grid", "random", "sha", "mixed"],
)
def test_the_references_examples_expand_to_the_runs_they_state(ml_config, runs):
    assert len(list(expand(experiment_file(ml_config)))) == runs


def test_the_references_reversed_range_is_warned_of():
    (warning,) = [one for one in experiment_file(MIXED).warnings if one.code == "W301"]
    assert warning.span.file == "<python> config_group[3].randomsearch.train.optimizer.args.weight_decay"


def test_python_and_a_file_that_say_the_same_give_equal_asts():
    said = experiment_file(
        [GRID, train(), [RANDOM, SHA]],
        experiment="same",
        mlspec="specs.digits:DigitsSpec",
        data={"path": "csv"},
        seed=7,
        objective={"metric": "top1_accuracy", "direction": "max"},
        execution={"chunks": 2},
    )
    written = parse(
        b"""
experiment: same
mlspec: specs.digits:DigitsSpec
data: {path: csv}
seed: 7
objective: {metric: top1_accuracy, direction: max}
execution: {chunks: 2}
config_group:
  - gridsearch:
      user_knobs: {model_type: !list [resnet, vgg]}
      train:
        epochs: 3
        batch_size: !list [128, 256]
        optimizer: {name: Adam, args: {lr: !list [1e-4, 1e-6], weight_decay: 1e-6}}
      named_metrics: [top1_accuracy, top5_accuracy]
  - config: {train: {epochs: 1, batch_size: 8, optimizer: {name: Adam, args: {lr: 1e-3}}}}
  - - randomsearch:
        num_runs: 7
        train:
          epochs: 5
          batch_size: !list [16, 32]
          optimizer: {name: Adam, args: {lr: !range [1e-4, 9e-4], weight_decay: !list [1e-4, 1e-5]}}
        named_metrics: [top1_accuracy]
    - sha:
        {num_runs: 8, min_epochs: 1, max_epochs: 8, reduction_factor: 2,
        metric: top5_accuracy, direction: max, train: {epochs: 10, batch_size: 128, optimizer: {name: Adam,
          args: {lr: !range [1e-5, 9e-5], weight_decay: !range [1e-4, 1e-3]}}},
        named_metrics: [top1_accuracy, top5_accuracy]}
""",
        "f.yaml",
    )
    assert said == written


def test_classes_become_dotted_paths_sets_sorted_lists_and_tuples_lists():
    knobs = {
        "layers": (2, 1),
        "kinds": {"b", "a"},
        "cls": MLSpec,
        "choice": enum.Enum("Kind", {"A": "a"}, type=str).A,
    }
    (group,) = experiment_file({**train(), "user_knobs": knobs, "fsdp_layer_cls": {ViTLayer}}).groups
    assert group.generator.tree["user_knobs"] == {
        "layers": [2, 1],
        "kinds": ["a", "b"],
        "cls": "rapidfire_cli.mlspec.MLSpec",
        "choice": "a",
    }
    assert group.generator.tree["fsdp_layer_cls"] == ["tests.test_automl.ViTLayer"]


def test_conditional_knobs_and_every_kind_of_range_are_written_as_in_files():
    branches = LIST([{"model": "mlp", "hidden": List([64, 128])}, {"model": "cnn"}])
    tried = GridSearch({**train(), "user_knobs": branches})
    assert len(list(expand(experiment_file(tried)))) == 3
    drawn = {"lr": RANGE(1e-4, 1e-1, log=True), "momentum": Range(0, 1, "float", step=0.25)}
    written = parse(
        b"""randomsearch: {num_runs: 3, train: {epochs: 1, batch_size: 8, optimizer: {name: SGD, args:
        {lr: !range {start: 1e-4, end: 1e-1, log: true},
        momentum: !range {start: 0, end: 1, dtype: float, step: 0.25}}}}}""",
        "f.yaml",
    )
    said = RandomSearch(train(optimizer={"name": "SGD", "args": drawn}), 3)
    assert experiment_file(said).groups == written.groups


def test_lists_that_advance_together_and_brackets_are_written_as_in_files():
    args = {"lr": Zip((0.1, 0.2), "size"), "momentum": Range(0.5, 0.9)}
    train = {"batch_size": Zip([8, 16], "size"), "optimizer": {"name": "SGD", "args": args}}
    asked = Hyperband({"train": train}, 9, "loss", "min", reduction_factor=2, replicates=3)
    said = b"""
hyperband:
  max_epochs: 9
  metric: loss
  direction: min
  reduction_factor: 2
  replicates: 3
  train:
    batch_size: !zip {with: size, values: [8, 16]}
    optimizer: {name: SGD, args: {lr: !zip {with: size, values: [0.1, 0.2]}, momentum: !range [0.5, 0.9]}}
"""
    assert experiment_file(asked).groups == parse(said, "f.yaml").groups


def test_a_population_is_written_as_in_files():
    args = {"lr": Range(0.1, 0.9)}
    cfg = {"train": {"epochs": 4, "batch_size": 8, "optimizer": {"name": "SGD", "args": args}}}
    own = {"quantile": 0.5, "perturb": ["train.optimizer.args.lr"], "mode": "async"}
    asked = PopulationTraining(cfg, 8, 2, "loss", "min", **own)
    said = b"""
pbt:
  population: 8
  perturb_every: 2
  metric: loss
  direction: min
  quantile: 0.5
  mode: async
  perturb: train.optimizer.args.lr
  train: {epochs: 4, batch_size: 8, optimizer: {name: SGD, args: {lr: !range [0.1, 0.9]}}}
"""
    assert experiment_file(asked).groups == parse(said, "f.yaml").groups


def test_a_search_is_written_as_in_files():
    args = {"lr": Range(0.1, 0.9)}
    cfg = {"train": {"epochs": 1, "batch_size": 8, "optimizer": {"name": "SGD", "args": args}}}
    median = {"rule": "median", "metric": "loss", "direction": "min"}
    asked = AdaptiveSearch(cfg, 9, "loss", "min", sampler="gp", startup=3, early_stopping=median)
    said = b"""
search:
  num_runs: 9
  metric: loss
  direction: min
  sampler: gp
  startup: 3
  early_stopping: {rule: median, metric: loss, direction: min}
  train: {epochs: 1, batch_size: 8, optimizer: {name: SGD, args: {lr: !range [0.1, 0.9]}}}
"""
    assert experiment_file(asked).groups == parse(said, "f.yaml").groups


def test_what_files_write_beside_the_sections_python_passes_as_arguments():
    assert wrong(GridSearch(train(), num_run=3)) == ["E201 gridsearch.num_run"]


@pytest.mark.parametrize(
    ("ml_config", "problem"),
    [
        (GridSearch(train(batch_size=List([]))), "E302 gridsearch.train.batch_size"),
        (GridSearch(train(batch_size=List([8, "8"]))), "E203 gridsearch.train.batch_size[2]"),
        (GridSearch(train(epochs=List([3, 3]))), "E304 gridsearch.train.epochs[2]"),
        (GridSearch(train(epochs=Range(1, 3))), "E308 gridsearch.train.epochs"),
        (train(epochs=List([1, 2])), "E301 config.train.epochs"),
        ([train(), train(epochs=0)], "E204 config_group[2].config.train.epochs"),
        (train(epoch=1), "E201 config.train.epoch"),
        (train(max_grad_norm=float("nan")), "E110 config.train.max_grad_norm"),
        ({**train(), "user_knobs": {1: 2}}, "E106 config.user_knobs.1"),
        ({**train(), "user_knobs": {"a": 2**63}}, "E109 config.user_knobs.a"),
        ({**train(), "user_knobs": {"a": "\udc00"}}, "E103 config.user_knobs.a"),
        ([], "E207 config_group"),
        (3, "E203 config"),
        (GridSearch(None), "E203 gridsearch"),
        (RandomSearch(train(), 0), "E204 randomsearch.num_runs"),
    ],
)
def test_what_is_wrong_is_told_with_the_codes_of_files_by_the_knobs_path(ml_config, problem):
    assert wrong(ml_config)[0] == problem


def test_values_that_are_not_plain_data_are_refused():
    knobs = {
        "array": np.zeros(2),
        "call": len,
        "object": object(),
        "local": type("Local", (), {"__module__": "__main__"}),
        "group": GridSearch(train()),
        "pairs": {(1, 2)},
        "bytes": b"",
    }
    assert wrong({**train(), "user_knobs": knobs}) == [f"E520 config.user_knobs.{name}" for name in knobs]


def test_classes_of_torch_optim_are_called_as_files_call_them():
    step = {"name": torch.optim.lr_scheduler.StepLR, "args": {"step_size": 3}}
    schedule = {"name": torch.optim.lr_scheduler.ChainedScheduler, "args": {"schedulers": [step]}}
    several = [{"name": torch.optim.Muon, "match": "*.weight"}, {"name": torch.optim.Adam}]
    config = train(optimizer={"name": List([torch.optim.SGD, ViTLayer])}, lr_scheduler=schedule)

    first, second = expand(experiment_file(GridSearch(config)))
    (listed,) = expand(experiment_file(train(optimizer=several)))

    assert first.leaf["train"]["optimizer"] == {"name": "SGD"}
    assert second.leaf["train"]["optimizer"] == {"name": "tests.test_automl.ViTLayer"}
    assert first.leaf["train"]["lr_scheduler"] == {
        "name": "ChainedScheduler",
        "args": {"schedulers": [{"name": "StepLR", "args": {"step_size": 3}}]},
    }
    assert [one["name"] for one in listed.leaf["train"]["optimizer"]] == ["Muon", "Adam"]


def test_a_class_among_the_user_s_knobs_stays_a_dotted_path():
    (run,) = expand(experiment_file({**train(), "user_knobs": {"name": torch.optim.Adam}}))

    assert run.leaf["user_knobs"] == {"name": "torch.optim.adam.Adam"}


def test_a_config_that_holds_itself_is_refused():
    knobs = {}
    knobs["again"] = knobs
    (problem,) = wrong({**train(), "user_knobs": knobs})
    assert problem.startswith("E114 config.user_knobs.again.again")


def test_a_hint_names_the_other_place_by_its_path_too():
    with pytest.raises(Refusal) as refusal:
        experiment_file(GridSearch(train(epochs=List([3, 3]))))
    assert refusal.value.problems[0].hint == "the first one is at <python> gridsearch.train.epochs[1]"


def test_what_is_no_plain_data_has_a_golden_rendering():
    with pytest.raises(Refusal) as refusal:
        experiment_file(runpy.run_path(str(CASE / "script.py"))["ml_config"])
    assert {problem.code for problem in refusal.value.problems} == {"E520"}
    agree(CASE / "stderr.txt", "\n\n".join(render(problem) for problem in refusal.value.problems) + "\n")
