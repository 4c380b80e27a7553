"""The memory that a run needs is estimated without making it, and near what it is."""

from itertools import product

import pytest

from rapidfire_cli.engine.messages import Assignment, Memory, Smoke
from rapidfire_cli.terms import canonical
from rapidfire_cli.training.estimating import estimate
from rapidfire_cli.training.measuring import HostMeter, measure
from tests.shares import share
from tests.training.sandbox import SPECS, TrainingSandbox, leaf
from tests.training.specs import Blobs

FACTOR = 1.25  # between the estimate and what is measured
SGD = {"name": "SGD", "args": {"lr": 0.1, "momentum": 0.9}}
ADAM = {"name": "AdamW", "args": {"lr": 0.001}}


class Peeking(Blobs):
    """Reads a number from the loss, which fake tensors do not have."""

    def compute_forward(self, model, batch, cfg):
        outputs = super().compute_forward(model, batch, cfg)
        if outputs["loss"].item() < 0:
            raise ValueError("negative")
        return outputs


def smoked(place, config):
    return place.executor.smoke(Smoke(canonical(config), 7, estimated=True))


@pytest.mark.parametrize(
    ("optimizer", "width", "batch_size"), share([*product([SGD, ADAM], [256, 4096], [8, 32])], 3)
)
def test_the_estimate_is_near_what_is_measured(tmp_path, optimizer, width, batch_size):
    config = leaf(optimizer, batch_size=batch_size, user_knobs={"width": width})
    place = TrainingSandbox(tmp_path / "place", f"{SPECS}:Wide")
    shared, asked = place.executor._shared, Assignment(1, canonical(config), 7, "")
    measure(asked, shared, HostMeter())  # what loading takes
    real = measure(asked, shared, HostMeter()).size

    assert real / FACTOR <= estimate(config, 7, shared) <= real * FACTOR


def test_a_run_of_terabytes_is_found_with_its_place_and_never_made(tmp_path):
    place = TrainingSandbox(tmp_path / "place", f"{SPECS}:Wide")
    (finding,) = smoked(place, leaf(ADAM, user_knobs={"width": 10**12})).findings

    assert (finding.code, finding.path) == ("E433", ("train", "batch_size"))
    size = float(finding.found.split()[1].replace(",", ""))
    assert size > 10**12 * (6 + 1 + 1 + 1 + 3) * 4 * 4 / 2**30
    assert finding.expected.startswith("at most ") and finding.hint


def test_nothing_is_said_of_a_run_that_fits(tmp_path):
    assert not smoked(TrainingSandbox(tmp_path, f"{SPECS}:Blobs"), leaf()).findings


@pytest.mark.parametrize(("spec", "codes"), [(f"{SPECS}:Blobs", ["E433"]), (f"{__name__}:Peeking", [])])
def test_nothing_is_said_where_user_code_needs_data(tmp_path, monkeypatch, spec, codes):
    monkeypatch.setattr(HostMeter, "memory", lambda self: Memory(0, 0))  # too little for any run
    assert [finding.code for finding in smoked(TrainingSandbox(tmp_path, spec), leaf()).findings] == codes


def test_each_device_needs_what_its_share_of_the_batch_takes(tmp_path):
    shared = TrainingSandbox(tmp_path, f"{SPECS}:Wide").executor._shared
    knobs = {"user_knobs": {"width": 1024}}
    halves = estimate(leaf(ADAM, batch_size=32, gpus=2, **knobs), 7, shared)

    assert halves == estimate(leaf(ADAM, batch_size=16, **knobs), 7, shared)


def test_a_sharded_run_needs_a_part_of_its_state_on_each_device(tmp_path):
    shared = TrainingSandbox(tmp_path, f"{SPECS}:Wide").executor._shared
    knobs = {"user_knobs": {"width": 1024}, "batch_size": 8, "gpus": 4}
    whole = estimate(leaf(ADAM, **knobs), 7, shared)
    parts = estimate({**leaf(ADAM, **knobs), "fsdp_layer_cls": ["torch.nn.Linear"]}, 7, shared)
    state = 4 * 4 * ((6 + 1 + 2 + 3) * 1024 + 3)  # weights, gradients and two moments

    assert whole - parts == pytest.approx(state * 3 / 4, rel=0.01)


@pytest.mark.parametrize(
    ("sharded", "hint"),
    [([], "or shard the model (`fsdp_layer_cls`)"), (["torch.nn.Linear"], "or more devices")],
)
def test_a_run_that_is_too_large_for_several_devices_is_found(tmp_path, sharded, hint):
    place = TrainingSandbox(tmp_path / "place", f"{SPECS}:Wide")
    config = leaf(ADAM, user_knobs={"width": 10**12}, gpus=2) | {"fsdp_layer_cls": sharded}
    (finding,) = smoked(place, config).findings

    assert finding.code == "E433" and "on each of 2 devices" in finding.found and finding.hint.endswith(hint)


def test_nothing_is_said_of_a_run_on_all_gpus_whose_number_is_unknown(tmp_path):
    place = TrainingSandbox(tmp_path / "place", f"{SPECS}:Wide")
    config = leaf(ADAM, user_knobs={"width": 10**12}) | {"fsdp_layer_cls": ["torch.nn.Linear"]}
    assert not smoked(place, config).findings
