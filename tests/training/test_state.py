"""A run's state is everything that its bits depend on. `test_refused_state.py` has what cannot be saved."""

import json
import random
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from enum import Enum
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from rapidfire_cli.engine.messages import Smoke
from tests.shares import share
from tests.training.sandbox import TrainingSandbox, leaf, same
from tests.training.specs import CLASSES, Blobs

HERE = __name__


class Kind(Enum):
    COLD = 0.5
    HOT = 2.0


@dataclass
class Stats:
    """A helper object with plain attributes."""

    count: int = 0
    mean: float = 0.0


class Slotted:
    __slots__ = ("value",)

    def __init__(self):
        self.value = 1.0


class Body(nn.Module):
    """A small classifier; subclasses add the state of a kind, and let the output depend on it."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(6, CLASSES)
        self.begin()

    def begin(self):
        """Make the state."""

    def factor(self, x):
        """What the logits are multiplied with; changes the state in training."""
        return 1.0

    def forward(self, x):
        return self.lin(x) * self.factor(x)


class Number(Body):
    def begin(self):
        self.tau = 2.0

    def factor(self, x):
        self.tau = max(0.5, self.tau * 0.97)
        return 1 / self.tau


class Lists(Body):
    def begin(self):
        self.seen, self.kinds = [], {"last": None}

    def factor(self, x):
        self.seen.append(float(x.detach().mean()))
        self.kinds = {"last": self.seen[-1], "sign": {self.seen[-1] > 0}}
        return 1 + sum(self.seen[-3:]) + sum(self.kinds["sign"])


class Containers(Body):
    def begin(self):
        self.deque, self.counter = deque(maxlen=2), Counter()
        self.default, self.ordered, self.kind = defaultdict(list), OrderedDict(), Kind.COLD

    def factor(self, x):
        step = sum(self.counter.values())
        self.deque.append(step)
        self.counter[str(step % 3)] += 1
        self.default["steps"].append(step)
        self.ordered[step] = (step, range(step))
        self.kind = Kind.HOT if step % 2 else Kind.COLD
        return self.kind.value * (1 + self.deque[0] + self.counter["1"] + len(self.default["steps"])) / 9


class Objects(Body):
    def begin(self):
        self.stats, self.inside, self.slotted = Stats(), [Stats(), {"deep": Stats()}], Slotted()

    def factor(self, x):
        for stats in (self.stats, self.inside[0], self.inside[1]["deep"]):
            stats.count += 1
            stats.mean += (float(x.detach().mean()) - stats.mean) / stats.count
        self.slotted.value *= 0.9
        return 1 + self.stats.mean + self.inside[1]["deep"].mean + self.slotted.value


class Closure(Body):
    """A tensor outside of any registration, and one that shares its memory with the weight."""

    def begin(self):
        self.ema, self.view, self.arrays = torch.zeros(()), self.lin.weight.detach()[0], [np.zeros(2)]

    def factor(self, x):
        self.ema.mul_(0.9).add_(0.1 * x.detach().mean())
        self.arrays[0] += 1
        return 1 + self.ema + self.view.sum() + float(self.arrays[0].sum()) / 100


class Generators(Body):
    def begin(self):
        self.own = (torch.Generator().manual_seed(1), np.random.default_rng(2), random.Random(3))
        self.old = np.random.RandomState(4)

    def factor(self, x):
        drawn, numpy, python = self.own
        return torch.rand((), generator=drawn) + numpy.random() + python.random() + self.old.rand()


class Pointer(Body):
    """Uses one of its layers after the other."""

    def begin(self):
        self.layers = nn.ModuleList([nn.Linear(6, CLASSES) for _ in range(3)])
        self.now, self.calls = self.layers[0], 0

    def factor(self, x):
        self.calls += 1
        self.now = self.layers[self.calls % 3]
        return self.now(x)


class LastOutput(Body):
    """Keeps what it put out, as people do to look at it."""

    def begin(self):
        self.last = None

    def forward(self, x):
        before, out = self.last, super().forward(x)
        self.last = out
        return out if before is None else out + 0.1 * before.detach().mean()


class Tally(Body):
    """Says and takes its own extra state."""

    def begin(self):
        self._tally = iter(range(10**6))
        self._at = 0

    def factor(self, x):
        self._at = next(self._tally)
        return 1 + self._at / 10

    def get_extra_state(self):
        return {"at": self._at}

    def set_extra_state(self, state):
        self._at = state["at"]
        self._tally = iter(range(self._at + 1, 10**6))


class Thawing(Body):
    """Trains a second layer from its first validation on only."""

    def begin(self):
        self.late, self.calls = nn.Linear(6, CLASSES).requires_grad_(False), 0

    def factor(self, x):
        self.calls += 1
        if self.calls == 6:  # the first validation batch
            self.late.requires_grad_(not self.late.weight.requires_grad)
        return self.late(x)


class Frozen(Body):
    """Takes its normalisation out of training from the fourth step of its life on."""

    def begin(self):
        self.norm, self.calls = nn.BatchNorm1d(6), 0

    def factor(self, x):
        self.calls += 1
        if self.calls == 4:
            self.norm.eval()
        return self.norm(x).mean(1, keepdim=True)


class Buffered(Body):
    """Growing, empty at first, sparse, expanded, complex, two views of one, not in the state_dict, late."""

    def begin(self):
        self.register_buffer("grows", torch.zeros(0))
        self.register_buffer("later", None)
        self.register_buffer("coo", torch.eye(3).to_sparse())
        self.register_buffer("csr", torch.eye(3).to_sparse_csr(), persistent=False)
        self.register_buffer("wide", torch.ones(1).expand(4))
        self.register_buffer("complex", torch.ones(2, dtype=torch.complex128))
        flat = torch.zeros(6)
        self.register_buffer("head", flat[:3])
        self.register_buffer("tail", flat[2:])
        self.register_buffer("hidden", torch.zeros(()), persistent=False)

    def factor(self, x):
        mean = x.detach().mean()
        self.grows = torch.cat([self.grows, mean[None]])
        self.later = self.grows[-2:].clone()
        self.coo = self.coo * (1 + mean / 10)
        self.csr = self.csr * (1 + mean / 10)
        self.complex *= 1 + mean / 10
        self.head += mean
        self.tail *= 0.9
        self.hidden += mean
        if not hasattr(self, "new"):
            self.register_buffer("new", torch.zeros(()), persistent=False)
        self.new += mean
        parts = self.coo.to_dense().sum() + self.csr.to_dense().sum() + self.complex.abs().sum().float()
        return (
            1
            + self.later.sum()
            + parts
            + self.head.sum()
            + self.tail.sum()
            + self.hidden
            + self.new
            + self.wide.sum()
        )


class Lazy(Body):
    def begin(self):
        self.late = nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.Tanh(), nn.LazyLinear(CLASSES))
        self.never = nn.LazyLinear(3)

    def factor(self, x):
        return self.late(x)


class Complex(Body):
    def begin(self):
        self.spectrum = nn.Parameter(torch.ones(4, dtype=torch.complex64))
        self.fine = nn.Parameter(torch.ones(4, dtype=torch.complex128))

    def factor(self, x):
        spectrum = torch.fft.rfft(x, dim=1)
        return ((spectrum * self.spectrum).abs().sum() + (spectrum * self.fine).abs().sum().float()) / 100


class TwoViews(Body):
    """Two parameters that are views of one tensor, and one that is tied."""

    def begin(self):
        flat = torch.linspace(-1, 1, 30)
        self.one, self.two = nn.Parameter(flat[:18].view(3, 6)), nn.Parameter(flat[12:].view(3, 6))
        self.again = nn.Linear(6, CLASSES)
        self.again.weight = self.lin.weight

    def factor(self, x):
        return functional.linear(x, self.one) + functional.linear(x, self.two) + self.again(x)


class OwnForm(Body):
    """A `state_dict` of its own form."""

    def begin(self):
        self.scale = nn.Parameter(torch.ones(()))

    def factor(self, x):
        return self.scale

    def state_dict(self, *args, **kwargs):
        return {"all": torch.cat([parameter.detach().flatten() for parameter in self.parameters()])}


class HalfWithFullState(Body):
    """Half precision weights, whose optimizer keeps what `load_state_dict` would round."""

    def begin(self):
        self.low = nn.Linear(6, CLASSES).bfloat16()

    def factor(self, x):
        return self.low(x.bfloat16()).float()


MODELS = [
    *(Number, Lists, Containers, Objects, Closure, Generators, Pointer, LastOutput, Tally, Thawing, Frozen),
    *(Buffered, Lazy, Complex, TwoViews, OwnForm, HalfWithFullState),
]


class Case(Blobs):
    """Trains the model that `user_knobs.model` names."""

    def create_model(self, cfg):
        return globals()[cfg["user_knobs"]["model"]]()


class OnSelf(Blobs):
    """Keeps state on the MLSpec, and says nothing of it."""

    def create_model(self, cfg):
        model = super().create_model(cfg)
        self.teacher, self.seen, self.rng = nn.Linear(6, CLASSES), 0, np.random.default_rng(0)
        self.averages = {parameter: parameter.detach().clone() for parameter in model.parameters()}
        return model

    def compute_forward(self, model, batch, cfg):
        self.seen += 1
        outputs = super().compute_forward(model, batch, cfg)
        with torch.no_grad():
            self.teacher.weight.mul_(0.99)
            for parameter, average in self.averages.items():
                average.data.lerp_(parameter.data, 0.1)
            pull = sum(average.sum() for average in self.averages.values())
        factor = (
            1
            + self.seen % 5
            + self.rng.random()
            + self.teacher(batch["x"]).detach().mean().abs()
            + pull.abs()
        )
        return {**outputs, "loss": outputs["loss"] * factor}


class OfMetrics(Blobs):
    """Metrics that are made of metrics."""

    def metrics(self, cfg):
        from torchmetrics import MeanMetric, Metric
        from torchmetrics.classification import MulticlassAccuracy
        from torchmetrics.wrappers import MinMaxMetric

        class Largest(MeanMetric):
            def update(self, logits, labels):
                super().update(logits.max(1).values)

        class Highest(Metric):
            def __init__(self):
                super().__init__()
                self.inner = MinMaxMetric(MulticlassAccuracy(CLASSES))

            def update(self, logits, labels):
                self.inner.update(logits, labels)

            def compute(self):
                return self.inner.compute()["max"]

            def reset(self):
                super().reset()
                self.inner.reset()

        accuracy = MulticlassAccuracy(CLASSES)
        return {"sum": accuracy + Largest(), "highest": Highest()}


class OfAllEpochs(Blobs):
    """A metric that resetting does not reset: the rows of all epochs so far."""

    def metrics(self, cfg):
        from torchmetrics import Metric

        class Seen(Metric):
            def __init__(self):
                super().__init__()
                self.rows = 0

            def update(self, logits, labels):
                self.rows += len(labels)

            def compute(self):
                return float(self.rows)

        return {"seen": Seen()}


def config(model=None, **train):
    knobs = {"model": model.__name__} if model else {}
    return leaf(optimizer={"name": "Adam", "args": {"lr": 0.02}}, user_knobs=knobs, **train)


def undisturbed(directory, spec, knobs):
    place = TrainingSandbox(directory, f"{HERE}:{spec.__name__}")
    place.train(knobs, until=3)
    return place


def read(place):
    (path,) = (place.directory / "1").glob("final.*")
    return torch.load(path, weights_only=True) if path.suffix == ".pt" else place.weights()


def equal(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(
            *(
                each[name].to_dense() if each[name].layout is not torch.strided else each[name]
                for each in (one, other)
            )
        )
        for name in one
        if isinstance(one[name], torch.Tensor)
    )


@pytest.mark.parametrize(
    ("model", "stop_at"),
    share(product(MODELS, [1, 6, 13]), 4),
    ids=lambda said: getattr(said, "__name__", str(said)),
)
def test_a_run_continues_bit_for_bit_whatever_its_model_keeps(tmp_path, model, stop_at):
    """Stopped after its first step, in an epoch, in a validation, at an epoch's end, in the next epoch."""
    whole = undisturbed(tmp_path / "whole", Case, config(model))
    stopped = TrainingSandbox(tmp_path / "stopped", f"{HERE}:Case")
    stopped.stop_at = stop_at
    stopped.train(config(model), until=3)
    continued = undisturbed(tmp_path / "stopped", Case, config(model))

    assert equal(read(whole), read(continued))
    assert continued.epochs() == whole.epochs()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_smoke_test_finds_that_a_checkpoint_holds_the_state(tmp_path, model):
    place = TrainingSandbox(tmp_path, f"{HERE}:Case", data_cache=0)
    assert place.executor.smoke(Smoke(json.dumps(config(model)), 42)).findings == ()


@pytest.mark.parametrize("stop_at", [1, 6, 13])
def test_what_changes_on_an_mlspec_that_says_nothing_is_kept(tmp_path, stop_at):
    whole = undisturbed(tmp_path / "whole", OnSelf, config())
    stopped = TrainingSandbox(tmp_path / "stopped", f"{HERE}:OnSelf")
    stopped.stop_at = stop_at
    stopped.train(config(), until=3)
    continued = undisturbed(tmp_path / "stopped", OnSelf, config())

    assert same(whole.weights(), continued.weights())
    assert continued.epochs() == whole.epochs()


@pytest.mark.parametrize("stop_at", [3, 6, 7, 8, 13, 14, 15])
def test_what_a_metric_keeps_beyond_its_reset_is_kept(tmp_path, stop_at):
    """Stopped in an epoch, in either batch of a validation, and at the end of an epoch, twice."""
    stopped = TrainingSandbox(tmp_path, f"{HERE}:OfAllEpochs")
    stopped.stop_at = stop_at
    stopped.train(config(), until=3)
    continued = undisturbed(tmp_path, OfAllEpochs, config())

    seen = {
        split: [continued.epochs()[at][split, "seen"] for at in (1, 2, 3)]
        for split in ("train", "validation")
    }
    assert seen == {"train": [37, 74, 111], "validation": [15, 30, 45]}


@pytest.mark.parametrize("stop_at", [4, 6, 8])
def test_metrics_that_are_made_of_metrics_continue_as_they_were(tmp_path, stop_at):
    whole = undisturbed(tmp_path / "whole", OfMetrics, config())
    stopped = TrainingSandbox(tmp_path / "stopped", f"{HERE}:OfMetrics")
    stopped.stop_at = stop_at
    stopped.train(config(), until=3)
    continued = undisturbed(tmp_path / "stopped", OfMetrics, config())

    assert ("validation", "highest") in whole.epochs()[3]
    assert continued.epochs() == whole.epochs()


def test_a_stop_within_a_validation_leaves_a_model_as_before_it_in_the_same_process(tmp_path):
    whole = undisturbed(tmp_path / "whole", Case, config(Lists))
    stopped = TrainingSandbox(tmp_path / "stopped", f"{HERE}:Case")
    stopped.stop_at = 6  # the first batch of the first validation
    stopped.train(config(Lists), until=3)
    stopped.train(config(Lists), until=3)

    assert same(stopped.weights(), whole.weights()) and stopped.epochs() == whole.epochs()


class WritesInValidation(Case):
    """Halves the trained weights in the first batch of each validation."""

    batches = 0

    def compute_forward(self, model, batch, cfg):
        self.batches = 0 if model.training else self.batches + 1
        if self.batches == 1:
            with torch.no_grad():
                model.lin.weight.mul_(0.5)
        return super().compute_forward(model, batch, cfg)


def test_a_stop_waits_for_the_end_of_a_validation_that_writes_to_weights(tmp_path):
    whole = undisturbed(tmp_path / "whole", WritesInValidation, config(Lists))
    stopped = TrainingSandbox(tmp_path / "stopped", f"{HERE}:WritesInValidation")
    stopped.stop_at = 6  # the first batch of the first validation
    told = stopped.train(config(Lists), until=3)
    continued = undisturbed(tmp_path / "stopped", WritesInValidation, config(Lists))

    assert told[-1].at == 1
    assert same(continued.weights(), whole.weights()) and continued.epochs() == whole.epochs()


@pytest.mark.parametrize(
    "name", share(["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "Adafactor", "LBFGS", "NAdam", "ASGD"], 3)
)
def test_optimizer_state_continues_as_it_was_by_parameter_name(tmp_path, name):
    knobs = leaf(
        optimizer={"name": name}, user_knobs={"model": "HalfWithFullState" if name != "LBFGS" else "Number"}
    )
    whole = undisturbed(tmp_path / "whole", Case, knobs)
    stopped = TrainingSandbox(tmp_path / "stopped", f"{HERE}:Case")
    stopped.stop_at = 3
    stopped.train(knobs, until=3)
    checkpoint = torch.load(stopped.checkpoints()[-1] / "state.pt", weights_only=True)
    assert set(checkpoint["optimizer"]["state"]) <= {"lin.weight", "lin.bias", "low.weight", "low.bias"}
    continued = undisturbed(tmp_path / "stopped", Case, knobs)

    assert same(whole.weights(), continued.weights())


class Configured(Blobs):
    """Keeps a new view of its knobs at each batch."""

    def compute_forward(self, model, batch, cfg):
        self.knobs = cfg["user_knobs"]
        return super().compute_forward(model, batch, cfg)


def test_views_of_the_config_are_no_state(tmp_path):
    place = undisturbed(tmp_path, Configured, config())
    assert place.weights()
