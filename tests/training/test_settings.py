"""What user code sets in the process is its run's own: each gets it back, and no other run meets it."""

import decimal
import gc
import io
import locale
import logging
import multiprocessing
import os
import signal
import socket
import sys
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Distribution
from torch.optim.optimizer import register_optimizer_step_pre_hook

from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.settings import BY_NAME, ProcessSettings
from tests.training.sandbox import TrainingSandbox, leaf, same
from tests.training.specs import Blobs


def add_handler(name=None):
    logging.getLogger(name).addHandler(logging.NullHandler())


GUARDS = []


def infer():
    """Inference mode, which lasts as long as its guard."""
    GUARDS.append(torch.inference_mode())
    GUARDS[-1].__enter__()


def call_always(number, frame):
    """A signal's handler."""


CHANGES = {
    "default dtype": [partial(torch.set_default_dtype, torch.float64)],
    "default device": [partial(torch.set_default_device, "meta"), partial(torch.set_default_device, "cpu")],
    "autograd": [partial(torch._C._set_grad_enabled, False), infer],
    "anomaly detection": [partial(torch.autograd.set_detect_anomaly, True)],
    "autocast": [
        partial(torch.set_autocast_enabled, "cpu", True),
        partial(torch.set_autocast_dtype, "cpu", torch.float16),
        partial(torch.set_autocast_cache_enabled, False),
    ],
    "float32 precision": [
        partial(torch.set_float32_matmul_precision, "high"),
        partial(torch.set_float32_matmul_precision, "medium"),
        partial(setattr, torch.backends.cuda.matmul, "allow_tf32", True),
        partial(setattr, torch.backends.cudnn, "allow_tf32", False),
        partial(setattr, torch.backends, "fp32_precision", "ieee"),
        partial(setattr, torch.backends.cuda.matmul, "fp32_precision", "tf32"),
        partial(setattr, torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
    ],
    "determinism": [partial(torch.use_deterministic_algorithms, True)],
    "filling of new memory": [
        lambda: setattr(
            torch.utils.deterministic,
            "fill_uninitialized_memory",
            not torch.utils.deterministic.fill_uninitialized_memory,
        )
    ],
    "fp16 reductions": [
        partial(setattr, torch.backends.cuda.matmul, "allow_fp16_reduced_precision_reduction", False)
    ],
    "bf16 reductions": [
        partial(setattr, torch.backends.cuda.matmul, "allow_bf16_reduced_precision_reduction", False)
    ],
    "fp16 accumulation": [partial(setattr, torch.backends.cuda.matmul, "allow_fp16_accumulation", True)],
    "cudnn": [partial(setattr, torch.backends.cudnn, "enabled", False)],
    "cudnn benchmark": [partial(setattr, torch.backends.cudnn, "benchmark", True)],
    "cudnn determinism": [partial(setattr, torch.backends.cudnn, "deterministic", True)],
    "mkldnn": [partial(setattr, torch.backends.mkldnn, "enabled", False)],
    "attention kernels": [partial(torch.backends.cuda.enable_flash_sdp, False)],
    "attention fast path": [partial(torch.backends.mha.set_fastpath_enabled, False)],
    "engine of quantized operators": [
        lambda: torch._C._set_qengine(
            next(each for each in torch._C._supported_qengines() if each != torch._C._get_qengine())
        )
    ],
    "flushing of denormal numbers": [partial(torch.set_flush_denormal, True)],
    "threads": [lambda: torch.set_num_threads(torch.get_num_threads() + 1)],
    "hooks of all modules": [
        lambda: nn.modules.module.register_module_forward_hook(lambda *_: None),
        lambda: register_optimizer_step_pre_hook(lambda *_: None),
    ],
    "torch's repeated warnings": [partial(torch.set_warn_always, True)],
    "checks of distributions": [
        lambda: Distribution.set_default_validate_args(not Distribution._validate_args)
    ],
    "numpy's errors": [partial(np.seterr, divide="raise")],
    "numpy's buffers": [partial(np.setbufsize, 1024)],
    "numpy's printing": [partial(np.set_printoptions, precision=2)],
    "torch's printing": [partial(torch.set_printoptions, precision=2)],
    "decimal arithmetic": [lambda: setattr(decimal.getcontext(), "prec", 7)],
    "locale": [lambda: locale.setlocale(locale.LC_ALL, "C" if "UTF" in locale.setlocale(0) else "C.UTF-8")],
    "warnings": [
        partial(warnings.simplefilter, "error"),
        partial(warnings.filterwarnings, "ignore", "only a", DeprecationWarning, "torch"),
    ],
    "warnings.showwarning": [partial(setattr, warnings, "showwarning", print)],
    "loggers": [
        add_handler,
        partial(add_handler, "a.logger.of.its.own"),
        lambda: logging.getLogger("transformers").setLevel(logging.CRITICAL),
        lambda: setattr(logging.getLogger("torch.distributed"), "propagate", None),
        lambda: logging.getLogger("torch").handlers.append(logging.NullHandler()),
    ],
    "logging": [partial(logging.disable, logging.CRITICAL)],
    "sys.stdout": [lambda: setattr(sys, "stdout", io.StringIO())],
    "sys.stderr": [lambda: setattr(sys, "stderr", io.StringIO())],
    "sys.excepthook": [lambda: setattr(sys, "excepthook", print)],
    "environment": [
        partial(os.environ.__setitem__, "RAPIDFIRE_TEST", "größe"),
        partial(os.environ.pop, "PATH"),
        partial(os.environ.__setitem__, "TZ", "Asia/Kathmandu"),
    ],
    "working directory": [lambda: os.chdir("/")],
    "umask": [lambda: os.umask(0o017)],
    "sys.path": [lambda: sys.path.insert(0, "/elsewhere")],
    "sys.argv": [lambda: sys.argv.append("more")],
    "recursion limit": [lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 1)],
    "garbage collection": [gc.disable],
    "garbage collection's thresholds": [partial(gc.set_threshold, 5)],
    "signal handlers": [
        partial(signal.signal, signal.SIGUSR2, call_always),
        partial(signal.signal, signal.SIGUSR1, call_always),
    ],
    "alarm": [lambda: signal.setitimer(signal.ITIMER_REAL, 1000)],
    "start method": [
        lambda: multiprocessing.set_start_method(
            "spawn" if multiprocessing.get_start_method(allow_none=True) != "spawn" else "fork", force=True
        )
    ],
    "sharing of tensors": [partial(torch.multiprocessing.set_sharing_strategy, "file_system")],
    "socket timeout": [partial(socket.setdefaulttimeout, 10.0)],
}
EACH = [
    pytest.param(name, change, id=f"{name} {number}")
    for name, changes in CHANGES.items()
    for number, change in enumerate(changes)
]


@pytest.fixture(autouse=True)
def alarm_of_the_test():
    """Set aside: it comes closer while one looks."""
    before = signal.setitimer(signal.ITIMER_REAL, 0)
    yield
    signal.setitimer(signal.ITIMER_REAL, *before)


def value(name):
    """What the setting is; of an alarm only whether it is set, as it comes closer."""
    seen = BY_NAME[name].get()
    return seen[0] > 0 if name == "alarm" else seen


def test_every_setting_is_tried():
    assert CHANGES.keys() == BY_NAME.keys()


@pytest.mark.parametrize(("name", "change"), EACH)
def test_a_run_gets_its_own_back_and_the_next_one_does_not_meet_it(name, change):
    before = value(name)
    settings = ProcessSettings()
    with settings.of(1):
        change()
        changed = value(name)
    assert changed != before
    assert value(name) == before

    with settings.of(2):
        assert value(name) == before
    with settings.of(1):
        assert value(name) == changed
    assert value(name) == before


@pytest.mark.parametrize(
    ("name", "change"), [each for each in EACH if BY_NAME[each.values[0]].kept == "value"]
)
def test_what_training_changed_is_plain_data_from_which_another_worker_sets_it_again(name, change):
    here = ProcessSettings()
    with here.of(1):
        opened = here.changes()
        assert here.packed(opened) == {}
        change()
        changed = value(name)
        saved = io.BytesIO()
        torch.save(here.packed(opened), saved)

    elsewhere = ProcessSettings()
    with elsewhere.of(1):
        elsewhere.unpack(torch.load(io.BytesIO(saved.getvalue()), weights_only=True))
        assert value(name) == changed


def test_what_the_opening_set_and_training_undid_stays_undone_elsewhere():
    before = value("default dtype")
    here = ProcessSettings()
    with here.of(1):
        torch.set_default_dtype(torch.float64)
        os.environ["RAPIDFIRE_TEST"] = "opened"
        opened = here.changes()
        torch.set_default_dtype(before)
        del os.environ["RAPIDFIRE_TEST"]
        packed = here.packed(opened)

    elsewhere = ProcessSettings()
    with elsewhere.of(1):
        torch.set_default_dtype(torch.float64)
        os.environ["RAPIDFIRE_TEST"] = "opened"
        elsewhere.unpack(packed)
        assert value("default dtype") == before
        assert "RAPIDFIRE_TEST" not in os.environ


def test_hooks_that_training_sets_on_all_modules_fail_the_run_that_would_lose_them():
    settings = ProcessSettings()
    with settings.of(1), pytest.raises(Failure, match="hooks of all modules"):
        opened = settings.changes()
        nn.modules.module.register_module_forward_hook(lambda *_: None)
        settings.packed(opened)


def test_a_setting_survives_that_user_code_fails():
    before = torch.get_default_dtype()
    settings = ProcessSettings()
    with pytest.raises(ZeroDivisionError), settings.of(1):
        torch.set_default_dtype(torch.float64)
        1 / 0  # noqa: B018
    assert torch.get_default_dtype() == before


def test_a_run_that_sets_nothing_keeps_nothing():
    settings = ProcessSettings()
    with settings.of(1):
        pass
    assert settings._own[1] == {}


class Double(Blobs):
    """Trains in the default type that a knob names, with noise that is drawn in it."""

    def create_model(self, cfg):
        torch.set_default_dtype(getattr(torch, cfg["user_knobs"].get("dtype", "float32")))
        return super().create_model(cfg)

    def row_prep(self, row, cfg, mode):
        return {**row, "weight": torch.tensor(1 / 3)}

    def compute_forward(self, model, batch, cfg):
        like = next(model.parameters()).dtype
        noise = torch.randn(batch["x"].shape).to(like) * batch["weight"].to(like)[:, None]
        outputs = super().compute_forward(model, {**batch, "x": batch["x"].to(like) + noise}, cfg)
        return {**outputs, "loss": outputs["loss"] * batch["weight"].double().mean()}


DOUBLE = leaf(user_knobs={"dtype": "float64"})


def test_a_run_beside_one_of_another_default_type_ends_with_the_bits_that_it_has_alone(tmp_path):
    spec = f"{__name__}:Double"
    beside = TrainingSandbox(tmp_path / "beside", spec)
    for epoch in (1, 2, 3):
        beside.train(DOUBLE, until=epoch, run=1)
        beside.train(leaf(), until=epoch, run=2)

    alone = [TrainingSandbox(tmp_path / name, spec) for name in ("one", "other")]
    alone[0].train(DOUBLE, until=3, run=1)
    alone[1].train(leaf(), until=3, run=2)
    for number in (1, 2):
        assert same(beside.weights(number), alone[number - 1].weights(number))
    assert beside.weights(1)["0.weight"].dtype == torch.float64


def test_rows_are_those_of_the_settings_that_the_model_was_made_with(tmp_path):
    kept, anew = (
        TrainingSandbox(tmp_path / str(room), f"{__name__}:Double", data_cache=room) for room in (2**20, 0)
    )
    for place in (kept, anew):
        place.train(leaf(), until=3, run=2)
        place.train(DOUBLE, until=3)

    assert kept.epochs() == anew.epochs()


class Settling(Blobs):
    """From its seventh batch on it computes in double precision, drops gradients, and fails on warnings."""

    def initialize_run(self, misc_path, cfg, mode):
        self.batches = 0

    def state_dict(self):
        return {"batches": self.batches}

    def load_state_dict(self, state):
        self.batches = state["batches"]

    def compute_forward(self, model, batch, cfg):
        self.batches += model.training
        if self.batches == 7:
            torch.set_default_dtype(torch.float64)
            os.environ["SETTLED"] = "yes"
        noise = torch.randn(batch["x"].shape).float()
        shift = float("SETTLED" in os.environ)
        return super().compute_forward(model, {**batch, "x": batch["x"] + noise + shift}, cfg)


@pytest.mark.parametrize("pulse", [6, 7, 12])
def test_what_training_set_goes_on_where_the_run_goes_on(tmp_path, pulse):
    spec = f"{__name__}:Settling"
    alone = TrainingSandbox(tmp_path / "alone", spec)
    alone.train(leaf(), until=3)
    stopped = TrainingSandbox(tmp_path / "stopped", spec)
    stopped.stop_at = pulse
    stopped.train(leaf(), until=3)
    continued = TrainingSandbox(tmp_path / "stopped", spec)
    continued.train(leaf(), until=3)

    assert same(continued.weights(), alone.weights())
    assert continued.epochs() == alone.epochs()


class Loading(Blobs):
    """Sets in load_data what all its runs go by."""

    def load_data(self, data, cfg):
        torch.set_default_dtype(torch.float64)
        return super().load_data(data, cfg)

    def create_model(self, cfg):
        print("default", torch.get_default_dtype())
        return super().create_model(cfg).float()


def test_what_load_data_sets_holds_for_every_run_that_shares_what_it_loaded(tmp_path):
    place = TrainingSandbox(tmp_path, f"{__name__}:Loading")
    for run in (1, 2):
        place.train(leaf(), until=1, run=run)

    assert "default torch.float64" in place.log(1)
    assert "default torch.float64" in place.log(2)


class Elsewhere(Blobs):
    """Leaves tensors without data as torch's default, gradients off, and a directory of its own."""

    def row_prep(self, row, cfg, mode):
        return {**row, "labels": torch.tensor(row["labels"], device="cpu")}

    def create_model(self, cfg):
        model = super().create_model(cfg)
        torch.set_default_device("meta")
        torch._C._set_grad_enabled(False)
        os.chdir("/")
        return model

    def compute_forward(self, model, batch, cfg):
        torch.set_default_device(None)
        with torch.set_grad_enabled(model.training):
            outputs = super().compute_forward(model, batch, cfg)
        torch.set_default_device("meta")
        return outputs


def test_training_itself_goes_by_none_of_these_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = leaf({"name": "SGD", "args": {"lr": 0.1}}, named_metrics=(), grad_accumulation=2)
    usual, own = TrainingSandbox("usual"), TrainingSandbox("own", f"{__name__}:Elsewhere", chunks=2)
    usual.train(config, until=3)
    for tick in range(1, 7):
        own.train(config, until=tick)
        own.evict()

    assert same(own.weights(), usual.weights())
    assert own.epochs() == usual.epochs()


def test_a_checkpoint_of_a_run_that_waits_holds_the_settings_of_its_own(tmp_path):
    spec = f"{__name__}:Double"
    alone = TrainingSandbox(tmp_path / "alone", spec)
    alone.train(DOUBLE, until=3)

    place = TrainingSandbox(tmp_path / "waiting", spec, checkpoint_every=1, chunks=2)
    place.executor._setup = replace(place.executor._setup, checkpoint_every=1e9)
    place.train(DOUBLE, until=3)
    place.executor._setup = replace(place.executor._setup, checkpoint_every=1)
    place.train(leaf(), until=2, run=2)  # saves the first meanwhile
    while place.executor.spare(idle=True) is not None:
        continue
    assert place.checkpoints(1) and torch.get_default_dtype() == torch.float32
    continued = TrainingSandbox(tmp_path / "waiting", spec, chunks=2)
    continued.train(DOUBLE, until=6)

    assert same(continued.weights(), alone.weights())


class Closing(Blobs):
    """Leaves something as stderr to which nothing can be printed, and fails."""

    def compute_forward(self, model, batch, cfg):
        sys.stderr = io.StringIO()
        sys.stderr.close()
        raise ValueError("of its own")


def test_a_run_that_breaks_the_standard_streams_fails_alone(tmp_path):
    place = TrainingSandbox(tmp_path, f"{__name__}:Closing")
    place.train(leaf(), until=1)

    assert "of its own" in place.failure().cause
    assert "ValueError: of its own" in place.log()
