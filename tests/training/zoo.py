"""Random small models with state of every kind, each grown from a seed."""

import copy
import random
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import is_lazy

from tests.training.specs import CLASSES, Blobs

DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
INPUTS = 6


@dataclass
class Note:
    """A helper object."""

    count: int = 0
    seen: list[float] = field(default_factory=list)


def bounded(value: Tensor) -> Tensor:
    """Any tensor as a number between -1 and 1."""
    dense = value if value.layout is torch.strided else value.to_dense()
    return torch.tanh(torch.view_as_real(dense.to(torch.complex64)).mean().nan_to_num() / 10)


class Buffers(nn.Module):
    """Buffers of a random dtype, layout and shape, which change in a random way."""

    def __init__(self, luck: random.Random) -> None:
        super().__init__()
        self.way = luck.choice(("add", "replace", "grow", "late", "drop"))
        dtype, shape = luck.choice(DTYPES), luck.choice(((), (0,), (3,), (2, 3), (1, 2, 2, 2)))
        value = torch.ones(shape, dtype=dtype)
        match luck.choice(("plain", "expanded", "turned", "last", "coo", "csr")):
            case "expanded":
                value = torch.ones((), dtype=dtype).expand(2, 3)
            case "turned" if len(shape) == 2:
                value = value.t()
            case "last" if len(shape) == 4:
                value = value.to(memory_format=torch.channels_last)
            case "coo" if dtype in (torch.float32, torch.float64, torch.complex128):
                value = torch.eye(3, dtype=dtype).to_sparse()
            case "csr" if dtype in (torch.float32, torch.float64):
                value = torch.eye(3, dtype=dtype).to_sparse_csr()
        first = None if self.way == "late" else value
        self.start = value
        self.register_buffer("value", first, persistent=luck.random() < 0.7)
        self.register_buffer("second", torch.zeros(2), persistent=luck.random() < 0.7)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.second += x.detach().mean()
        strided = self.value is not None and self.value.layout is torch.strided and self.value.is_contiguous()
        match self.way:
            case "add" if strided:
                self.value += torch.ones((), dtype=self.value.dtype)
            case "grow" if strided and self.value.ndim:
                self.value = torch.cat([self.value, self.value[:1]])
            case "late" if self.calls == 2:
                self.value = self.start.clone()
            case "drop" if self.calls == 3 and "second" in self._buffers:
                self.value = None
            case "replace" if self.value is not None and self.value.dtype.is_floating_point:
                self.value = self.value * 1.1
        return bounded(self.second) + (0 if self.value is None else bounded(self.value))


class Slices(nn.Module):
    """Parameters, buffers and attributes that are slices of one tensor."""

    def __init__(self, luck: random.Random) -> None:
        super().__init__()
        flat = torch.linspace(-1, 1, 40)
        for index in range(luck.randint(1, 4)):
            begin = luck.randint(0, 20)
            part = flat[begin : begin + INPUTS]
            match luck.choice(("parameter", "buffer", "attribute", "tied")):
                case "parameter":
                    setattr(self, f"p{index}", nn.Parameter(part))
                case "buffer":
                    self.register_buffer(f"b{index}", part, persistent=luck.random() < 0.5)
                case "attribute":
                    setattr(self, f"a{index}", part)
                case "tied":
                    self.one, self.two = nn.Linear(INPUTS, 1), nn.Linear(INPUTS, 1)
                    self.two.weight = self.one.weight
        self.moves = luck.random() < 0.5

    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros(())
        for name, part in [*self.named_parameters(recurse=False), *self.named_buffers(recurse=False)]:
            total = total + (x @ part).mean()
            if self.moves and name.startswith("b"):
                part.data.mul_(0.99)
        for name in [name for name in vars(self) if name.startswith("a") and len(name) == 2]:
            getattr(self, name).mul_(0.98)
            total = total + getattr(self, name).sum()
        if hasattr(self, "one"):
            total = total + self.one(x).mean() + self.two(x).mean()
        return torch.tanh(total)


class Lazies(nn.Module):
    """Layers that learn their shapes from the first batch, or never."""

    def __init__(self, luck: random.Random) -> None:
        super().__init__()
        self.first = nn.LazyLinear(4, bias=luck.random() < 0.5)
        self.second = luck.choice((nn.LazyBatchNorm1d, nn.Identity))()
        self.unused = nn.LazyConv1d(2, 1)
        self.when = luck.randint(1, 3)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return torch.tanh(self.second(self.first(x)).mean()) if self.calls >= self.when else torch.zeros(())


class Attributes(nn.Module):
    """Plain data of random kinds."""

    def __init__(self, luck: random.Random) -> None:
        super().__init__()
        self.kinds = luck.sample(sorted(KINDS), luck.randint(1, 4))
        for kind in self.kinds:
            setattr(self, kind, copy.deepcopy(KINDS[kind]))
        if "shared" in self.kinds:
            self.again = self.shared
        if "mixed" in self.kinds:
            self.mixed = (nn.Identity(), 0, [Note()])

    def forward(self, x: Tensor) -> Tensor:
        value = float(x.detach().mean())
        return torch.tanh(torch.tensor(sum(self.advanced(kind, value) for kind in self.kinds)) / 10)

    def advanced(self, kind: str, value: float) -> float:
        """Change the attribute; a number that depends on it."""
        held = getattr(self, kind)
        match kind:
            case "number":
                self.number = held * 0.9 + value
            case "text":
                self.text = f"{held}{len(held) % 10}"[-20:]
                return float(len(self.text)) + (self.text[-1:] == "5")
            case "shared":
                held.append(value)
                return sum(self.again[-3:])
            case "nested":
                held["inner"]["steps"] += 1
                held["seen"].add(held["inner"]["steps"] % 4)
                held["counter"]["x"] += 1
                held["deque"].append(value)
                return held["inner"]["steps"] / 10 + len(held["seen"]) + sum(held["deque"])
            case "array":
                held *= 1.1
                return float(held.sum()) % 3
            case "note":
                held.count += 1
                held.seen.append(value)
                return held.count / 10 + sum(held.seen[-2:])
            case "tensor":
                held.mul_(0.9).add_(value)
                return float(held.sum())
            case "numpy":
                return float(held.random())
            case "python":
                return held.random()
            case "torch":
                return float(torch.rand((), generator=held))
            case "mixed":
                layer, count, (note,) = held
                note.count += 1
                self.mixed = (layer, count + 1, [note])
                return (count + note.count) / 10
            case "optional":
                self.optional = None if held is not None else value
                return 0.0 if self.optional is None else 1.0
        return float(getattr(self, kind))


KINDS = {
    "number": 1.0,
    "text": "",
    "shared": [],
    "nested": {"inner": {"steps": 0}, "seen": set(), "counter": Counter(), "deque": deque(maxlen=3)},
    "array": np.ones(3),
    "note": Note(),
    "tensor": torch.zeros(2),
    "numpy": np.random.default_rng(1),
    "python": random.Random(2),
    "torch": torch.Generator().manual_seed(3),
    "mixed": None,
    "optional": None,
}


class Extra(nn.Module):
    """Says its own extra state."""

    def __init__(self, _luck: random.Random) -> None:
        super().__init__()
        self._steps = iter(range(1, 10**6))
        self._last = 0

    def forward(self, x: Tensor) -> Tensor:
        self._last = next(self._steps)
        return torch.tensor(self._last % 7 / 7)

    def get_extra_state(self) -> dict[str, int]:
        return {"last": self._last}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self._last = state["last"]
        self._steps = iter(range(self._last + 1, 10**6))


class Modes(nn.Module):
    """Freezes and thaws layers, and takes normalisation out of training, at random steps."""

    def __init__(self, luck: random.Random) -> None:
        super().__init__()
        self.layer, self.norm, self.calls = nn.Linear(INPUTS, 1), nn.BatchNorm1d(INPUTS), 0
        self.layer.requires_grad_(luck.random() < 0.5)
        self.at, self.out = luck.randint(2, 9), luck.randint(2, 9)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.at:
            self.layer.requires_grad_(not self.layer.weight.requires_grad)
        if self.calls == self.out:
            self.norm.eval()
        return torch.tanh(self.layer(self.norm(x)).mean())


class FrozenWeights(nn.Module):
    """Frozen parameters and a hidden buffer; some are tied, in one tensor, written to or thawed."""

    def __init__(self, luck: random.Random) -> None:
        super().__init__()
        flat = torch.linspace(-1, 1, 60)
        self.weights = nn.ParameterList()
        for _ in range(luck.randint(1, 4)):
            begin = luck.randint(0, 40)
            tensor = luck.choice(
                (flat[begin : begin + INPUTS], torch.rand(INPUTS), torch.rand(2, INPUTS)[:, 1])
            )
            self.weights.append(nn.Parameter(tensor, requires_grad=luck.random() < 0.2))
        if luck.random() < 0.3:
            self.again = self.weights[0]
        if luck.random() < 0.3:
            self.note = self.weights[-1].detach()[:2]
        self.register_buffer("mask", torch.rand(130, 130), persistent=False)
        self.ways = {luck.randint(1, 14): luck.choice(("data", "copy", "thaw", "turn", "mask", "note"))}
        self.ways |= {luck.randint(1, 14): luck.choice(("data", "thaw", "freeze", "average"))}
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.change(self.ways.get(self.calls, "average" if "average" in self.ways.values() else ""))
        return torch.tanh(
            sum((x[:, : len(weight)] @ weight).mean() for weight in self.weights) * self.mask.mean()
        )

    @torch.no_grad()
    def change(self, way: str) -> None:
        """Do something to a weight or a buffer; validation must leave alone what is trained."""
        if not self.training and any(weight.requires_grad for weight in self.weights):
            return
        match way:
            case "data":
                self.weights[-1].data.mul_(0.9)
            case "copy":
                self.weights[0].copy_(torch.ones_like(self.weights[0]))
            case "average":
                self.weights[0].lerp_(torch.zeros_like(self.weights[0]), 0.1)
            case "thaw":
                self.weights[-1].requires_grad_(True)
            case "turn":
                for weight in self.weights:
                    weight.requires_grad_(not weight.requires_grad)
            case "freeze":
                self.requires_grad_(False)
            case "mask":
                self.mask *= 0.9
            case "note" if hasattr(self, "note"):
                self.note.mul_(0.9)


class Unholdable(nn.Module):
    """State that no checkpoint holds."""

    def __init__(self, luck: random.Random) -> None:
        super().__init__()
        self.way = luck.choice(("iterator", "object", "module"))
        self.numbers = iter(range(10**6)) if self.way == "iterator" else None

    def forward(self, x: Tensor) -> Tensor:
        match self.way:
            case "iterator":
                next(self.numbers)
            case "object":
                self.note = Note()
            case "module":
                self.more = nn.Identity()
        return torch.zeros(())


PARTS = (Buffers, Buffers, Slices, Lazies, Attributes, Attributes, Extra, Modes, FrozenWeights, FrozenWeights)


class Grown(nn.Module):
    """A classifier whose logits depend on parts drawn by the seed; some of their parameters are frozen."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        luck = random.Random(seed)
        self.lin = nn.Linear(INPUTS, CLASSES)
        parts = [luck.choice(PARTS)(luck) for _ in range(luck.randint(1, 4))]
        if luck.random() < 0.1:
            parts.append(Unholdable(luck))
        self.parts = nn.ModuleList(parts)
        if luck.random() < 0.3:
            for parameter in self.parts.parameters():
                if not is_lazy(parameter):
                    parameter.requires_grad_(parameter.requires_grad and luck.random() < 0.5)
        self.is_held = not isinstance(parts[-1], Unholdable)

    def forward(self, x: Tensor) -> Tensor:
        factor = torch.ones(())
        for part in self.parts:
            factor = factor + part(x)
        return functional.hardtanh(self.lin(x) * factor, -20, 20)


class Zoo(Blobs):
    """Trains the model that grows from `user_knobs.seed`."""

    def create_model(self, cfg):
        return Grown(cfg["user_knobs"]["seed"])
