"""The reference's examples, in YAML, mean what it says of them."""

from rapidfire_cli.syntax.ast import Config, GridSearch, List, RandomSearch, Range, SuccessiveHalving
from tests.syntax.reading import generator, understood

VIT = """\
      user_knobs: {model_type: vit}
      train:
        epochs: 1
        batch_size: 128
        optimizer: {name: Adam, args: {lr: !list [1e-4, 1e-5], weight_decay: !list [1e-6, 1e-5]}}
      named_metrics: [top1_accuracy, top5_accuracy]
      fsdp_layer_cls: [transformers.models.vit.modeling_vit.ViTLayer]
"""


def test_the_first_config():
    assert generator("""
config:
  user_knobs: {model_type: vit}
  train:
    epochs: 10
    batch_size: 64
    optimizer: {name: Adam, args: {lr: 1e-4, momentum: 0.9, weight_decay: 1e-5}}
    lr_scheduler: {name: StepLR, args: {step_size: 1000}}
  named_metrics: [top1_accuracy, top5_accuracy]
  fsdp_layer_cls: [transformers.models.vit.modeling_vit.ViTLayer]
""") == Config(
        {
            "user_knobs": {"model_type": "vit"},
            "train": {
                "epochs": 10,
                "batch_size": 64,
                "optimizer": {"name": "Adam", "args": {"lr": 1e-4, "momentum": 0.9, "weight_decay": 1e-5}},
                "lr_scheduler": {"name": "StepLR", "args": {"step_size": 1000}},
            },
            "named_metrics": ["top1_accuracy", "top5_accuracy"],
            "fsdp_layer_cls": ["transformers.models.vit.modeling_vit.ViTLayer"],
        }
    )


def test_the_grid_search():
    assert generator("""
gridsearch:
  user_knobs: {model_type: !list [resnet, vgg]}
  train:
    epochs: 3
    batch_size: !list [128, 256]
    optimizer: {name: Adam, args: {lr: !list [1e-4, 1e-6], weight_decay: 1e-6}}
  named_metrics: [top1_accuracy, top5_accuracy]
""") == GridSearch(
        {
            "user_knobs": {"model_type": List(("resnet", "vgg"))},
            "train": {
                "epochs": 3,
                "batch_size": List((128, 256)),
                "optimizer": {"name": "Adam", "args": {"lr": List((1e-4, 1e-6)), "weight_decay": 1e-6}},
            },
            "named_metrics": ["top1_accuracy", "top5_accuracy"],
        }
    )


def test_the_random_search():
    assert generator("""
randomsearch:
  num_runs: 7
  train:
    epochs: 5
    batch_size: !list [16, 32]
    optimizer:
      name: Adam
      args: {lr: !range {start: 1e-4, end: 9e-4, dtype: float}, weight_decay: !list [1e-4, 1e-5]}
  named_metrics: [top1_accuracy]
""") == RandomSearch(
        {
            "train": {
                "epochs": 5,
                "batch_size": List((16, 32)),
                "optimizer": {
                    "name": "Adam",
                    "args": {"lr": Range(1e-4, 9e-4, "float"), "weight_decay": List((1e-4, 1e-5))},
                },
            },
            "named_metrics": ["top1_accuracy"],
        },
        num_runs=7,
    )


def test_successive_halving_trains_to_max_epochs():
    assert generator("""
sha:
  num_runs: 8
  min_epochs: 1
  max_epochs: 8
  reduction_factor: 2
  metric: top5_accuracy
  direction: max
  train:
    epochs: 10
    batch_size: 128
    optimizer: {name: Adam, args: {lr: !range [1e-5, 9e-5], weight_decay: !range [1e-4, 1e-3]}}
  named_metrics: [top1_accuracy, top5_accuracy]
""") == SuccessiveHalving(
        {
            "train": {
                "epochs": 8,
                "batch_size": 128,
                "optimizer": {
                    "name": "Adam",
                    "args": {"lr": Range(1e-5, 9e-5, "float"), "weight_decay": Range(1e-4, 1e-3, "float")},
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


def test_the_mixed_list_with_its_reversed_range():
    file = understood(f"""
seed: 42
config_group:
  - config:
      train: {{epochs: 1, batch_size: 256, optimizer: {{name: Adam, args: {{lr: 1e-4, weight_decay: 1e-6}}}}}}
  - gridsearch:
{VIT}
  - randomsearch:
      num_runs: 6
      user_knobs: {{model_type: resnet}}
      train:
        epochs: 1
        batch_size: !list [64, 128, 256]
        optimizer:
          name: Adam
          args: {{lr: !range [1e-4, 9e-4], weight_decay: !range {{start: 1e-4, end: 1e-5, dtype: float}}}}
""")
    assert [type(group.generator) for group in file.groups] == [Config, GridSearch, RandomSearch]
    assert [group.at for group in file.groups] == [
        ("config_group", 0, "config"),
        ("config_group", 1, "gridsearch"),
        ("config_group", 2, "randomsearch"),
    ]
    assert [warning.code for warning in file.warnings] == ["W201", "W301"]
