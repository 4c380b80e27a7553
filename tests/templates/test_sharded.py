"""What sharding does to the models of `specs/`: on eight devices that only count, and on two workers."""

import json
from collections.abc import Iterator

import pytest
import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

from rapidfire_cli.engine.messages import Assignment
from rapidfire_cli.training.layers import layers_named
from rapidfire_cli.training.opening import opened
from rapidfire_cli.training.sharding import Sharded
from rapidfire_cli.training.shards import is_shard, local
from rapidfire_cli.training.share import Share
from tests.scenarios.conftest import ROOT, Cli
from tests.shares import share
from tests.templates.project import Project

SIZE = 8
VIT = "transformers.models.vit.modeling_vit.ViTLayer"
LAYERS = {
    "digits.yaml": "torch.nn.Linear",
    "imagenet.yaml": "torch.nn.Conv2d",
    "reference/config.yaml": VIT,
    "imdb.yaml": "torch.nn.Linear",
    "causal_lm.yaml": "transformers.models.gpt2.modeling_gpt2.GPT2Block",
    "tabular.yaml": "torch.nn.Linear",
}


class Counting:
    """A gang whose other ranks do not exist."""

    def __init__(self, rank: int) -> None:
        self.share = Share(rank, SIZE)
        self._mesh = init_device_mesh("cpu", (SIZE,))

    def mesh(self) -> DeviceMesh:
        return self._mesh


@pytest.fixture(params=share([5, 0, 7], 3))
def rank(request) -> Iterator[int]:
    """One of eight ranks, which receive nothing from each other."""
    distributed.init_process_group("fake", store=FakeStore(), rank=request.param, world_size=SIZE)
    yield request.param
    distributed.destroy_process_group()


@pytest.mark.parametrize("name", share(LAYERS, 2))
def test_each_of_eight_ranks_holds_its_part_of_every_parameter(project, tmp_path, rank, name):
    made = Project(ROOT / "configs" / name)
    place = made.sandbox(tmp_path)
    run = opened(Assignment(1, json.dumps(made.leaves[0]), 42, str(tmp_path / "1")), place.executor._shared)
    whole = {name: each.detach().clone() for name, each in run.model.named_parameters()}
    layers = layers_named(run.model, [LAYERS[name]])
    Sharded(run, lambda batch: None, layers, Counting(rank), torch.device("cpu"))
    parts = dict(run.model.named_parameters())
    assert parts.keys() == whole.keys() and layers
    for key, tensor in whole.items():
        chunks = torch.chunk(tensor, SIZE)
        mine = chunks[rank] if rank < len(chunks) else tensor[:0]
        assert is_shard(parts[key]) and parts[key].shape == tensor.shape
        assert torch.equal(local(parts[key]), mine)


def test_the_references_example_shards_its_vit_over_two_workers(filled, tmp_path):
    cli = Cli(filled, {"HF_HOME": str(filled / "huggingface")})
    file, losses = str(ROOT / "configs/reference/config.yaml"), []
    for gpus in ("1", "2"):
        place = ("--dir", str(tmp_path / gpus))
        changes = (
            "--set",
            f"+train.gpus={gpus}",
            "--set",
            "train.epochs=1",
            "--set",
            "+train.steps_per_epoch=3",
        )
        said = cli.run("fit", file, *changes, "--workers", gpus, "--threads", "1", *place).stderr
        found = json.loads(cli.run("status", *place, "--output", "json").stdout)
        losses.append(found["runs"][0]["metrics"]["validation"]["loss"])
        assert ("W201" in said) == (gpus == "1")
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
