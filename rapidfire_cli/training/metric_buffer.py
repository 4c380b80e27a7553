"""The exact metrics of an epoch: computed over all its rows, not averaged over batches."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any

import torch

from rapidfire_cli.training import rng
from rapidfire_cli.training.failure import Failure, at_knob, guard_knob
from rapidfire_cli.training.metrics import Custom, Measure, measure
from rapidfire_cli.training.predictions import Pair, Reader, counted
from rapidfire_cli.training.sums import EXACT, exact

NAMED = "named_metrics"
BUFFER = 2**21  # bytes of logits collected before a metric update (assumed: a share of some caches)
LOOKED_AT = 2**20  # bytes: metrics with a larger state are not computed within an epoch (assumed: some ms)


class MetricBuffer:
    """The named and custom metrics of one split."""

    def __init__(self, names: Sequence[str], custom: Mapping[str, Any]) -> None:
        self._names = tuple(names)
        self._custom = custom
        wrapped = {name: Custom(name, metric) for name, metric in custom.items()}
        flat = tuple(name for name in names if name != EXACT)
        rows = (EXACT,) if EXACT in names else ()
        self._raw = _Group(
            tuple(custom), lambda name, _: wrapped[name], _all, lambda _: nullcontext(), is_tried=True
        )
        self._flat = _Group(flat, lambda name, like: measure(name, *like), counted, self._guard)
        self._rows = _Group(rows, lambda name, _: exact(), _all, self._guard)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the metrics that `values` returns."""
        return (*self._names, *self._custom)

    def read(self, outputs: Mapping[str, Any], batch: Any, reader: Reader) -> tuple[Pair | None, ...]:
        """Return what the metrics need of a batch and its outputs, for `add`. Raises Failure.

        Custom metrics receive logits and labels unchanged; named metrics receive the rows that count.
        """
        raw = reader.raw(outputs, batch) if self._custom or reader.inputs else None
        try:  # a context manager would take longer than all that is in it
            pair = raw or reader.raw(outputs, batch)
            flat = reader.flat(outputs, pair) if self._flat.names else None
            rows = reader.rows(outputs, pair) if self._rows.names else None
        except Exception as error:
            raise at_knob(error, (NAMED,)) from error
        return (raw if self._custom else None), flat, rows

    def add(self, pairs: Sequence[Pair | None]) -> None:
        """Add the result of `read`. Raises Failure."""
        raw, flat, rows = pairs
        for group, pair in ((self._raw, raw), (self._flat, flat), (self._rows, rows)):
            if pair:
                group.add(pair)

    def values(self) -> dict[str, float]:
        """Return the metrics over all rows since `reset`. Raises Failure."""
        return self._together(lambda group: group.values())

    def partial_values(self) -> dict[str, float]:
        """Return the metrics so far, computed on copies so that the epoch's sums keep their order.

        A metric that holds many rows is left out. The result is empty if the computation fails: a metric that
        has no value yet, or cannot be copied, must not fail the run.
        """
        try:
            return self._together(lambda group: group.partial_values())
        except Exception:
            return {}

    def reset(self) -> None:
        """Forget every row."""
        for group in self._groups():
            group.reset()

    def state(self) -> list[dict[str, Any]]:
        """Return everything since `reset`, as tensors and plain data."""
        return [group.state() for group in self._groups()]

    def restore(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Restore the result of `state`."""
        for group, its in zip(self._groups(), state, strict=True):
            group.restore(its)

    def lasting(self) -> dict[str, Any] | None:
        """Return what custom metrics keep beyond `reset`; None if there are none. Raises Failure."""
        return self._raw.state() if self._custom else None

    def restore_lasting(self, state: Mapping[str, Any] | None) -> None:
        """Restore the result of `lasting`."""
        if state:
            self._raw.restore(state)

    def _together(self, values: Callable[["_Group"], Mapping[str, float]]) -> dict[str, float]:
        found: dict[str, float] = {}
        for group in self._groups():
            found |= values(group)
        return {name: found[name] for name in self.names if name in found}

    def _groups(self) -> tuple["_Group", ...]:
        return self._flat, self._rows, self._raw

    def _guard(self, name: str) -> AbstractContextManager[None]:
        """Turn an error of a named metric into a Failure that blames its entry in the file."""
        return guard_knob(NAMED, str(self._names.index(name)))


class _Group:
    """Metrics with the same inputs. Logits and labels are collected, so that each update has many rows."""

    def __init__(
        self,
        names: Sequence[str],
        make: Callable[[str, Pair], Measure],
        choose: Callable[[Pair], Pair],
        guard: Callable[[str], AbstractContextManager[None]],
        is_tried: bool = False,
    ) -> None:
        self.names = names
        self._is_tried = is_tried  # whether to test the first batch; named metrics need no test
        self._make = make
        self._choose = choose  # selects the rows that the metrics see
        self._guard = guard
        self._measures: Mapping[str, Measure] = {}
        self._like: Pair | None = None  # one row of the first batch, for which the measures were created
        self._kept: list[Pair] = []
        self._are_views = False  # of larger tensors, which would stay in memory
        self._size = 0  # bytes of the logits kept
        self._seen = False  # whether the measures have received any rows

    def add(self, pair: Pair) -> None:
        """Collect a batch; copy it if it is a view of a larger tensor. Raises Failure."""
        logits, labels = pair
        if self._like is None:
            self._prepare((logits[:1].clone(), labels[:1].clone()))
            if self._is_tried:
                self._try(pair)
        if self._kept and not _alike(self._kept[0], pair):
            self._flush()
        if not self._kept:  # looked at now and then: for most models it would take as long as all the rest
            self._are_views = logits.untyped_storage().nbytes() > 2 * logits.nbytes
        if self._are_views:
            logits = logits.clone()
        self._kept.append((logits, labels))
        self._size += logits.nbytes
        if self._size >= BUFFER:
            self._flush()

    def values(self) -> dict[str, float]:
        """Return the metrics; NaN if there were no rows that count. Raises Failure."""
        self._flush()
        return self._computed(self._measures if self._seen else {})

    def partial_values(self) -> dict[str, float]:
        """Return the metrics so far, without those that have a large state and so take long to compute."""
        light = {name: each for name, each in self._measures.items() if _bytes(each.state()) < LOOKED_AT}
        measures = deepcopy(light)
        seen = self._feed(measures) or self._seen
        values = self._computed(measures if seen else {})
        return {name: values[name] for name in light} if self._measures else values

    def reset(self) -> None:
        self._kept.clear()
        self._size = 0
        self._seen = False
        for each in self._measures.values():
            each.reset()

    def state(self) -> dict[str, Any]:
        measures = {name: each.state() for name, each in self._measures.items()}
        return {"kept": self._joined(), "like": self._like, "seen": self._seen, "measures": measures}

    def restore(self, state: Mapping[str, Any]) -> None:
        if state["like"]:
            self._prepare(state["like"])
        for name, each in state["measures"].items():
            self._measures[name].restore(each)
        self._seen = state["seen"]
        if state["kept"]:
            self.add(state["kept"])

    def _prepare(self, like: Pair) -> None:
        self._like = like
        measures = {}
        for name in self.names:
            with self._guard(name):
                measures[name] = self._make(name, like)
        self._measures = measures

    def _try(self, pair: Pair) -> None:
        """Test the metrics on the first batch, so that an unusable one is found early. Raises Failure.

        Errors that a metric itself raises are ignored: it may need more rows. Random streams are restored.
        """
        streams = rng.capture()
        for name, each in deepcopy(self._measures).items():
            with self._guard(name):
                try:
                    each.update(*self._choose(pair))
                    each.compute()
                except Failure:
                    raise
                except Exception:
                    continue
        rng.restore(streams)

    def _flush(self) -> None:
        self._seen |= self._feed(self._measures)
        self._kept.clear()
        self._size = 0

    def _feed(self, measures: Mapping[str, Measure]) -> bool:
        """Update the measures with the collected rows; return whether there were any that count."""
        joined = self._joined()
        pair = self._choose(joined) if joined else None
        if pair is None or not len(pair[0]):
            return False
        for name, each in measures.items():
            with self._guard(name):
                each.update(*pair)
        return True

    def _computed(self, measures: Mapping[str, Measure]) -> dict[str, float]:
        values = dict.fromkeys(self.names, math.nan)
        for name, each in measures.items():
            with self._guard(name):
                values[name] = each.compute()
        return values

    def _joined(self) -> Pair | None:
        """Join the collected batches into one and return it; None if there are none."""
        if len(self._kept) > 1:
            logits, labels = zip(*self._kept, strict=True)
            self._kept = [(torch.cat(logits), torch.cat(labels))]
        return self._kept[0] if self._kept else None


def _bytes(state: Any) -> int:
    """Return the bytes of the tensors in a state."""
    match state:
        case torch.Tensor():
            return state.nbytes
        case dict():
            return sum(map(_bytes, state.values()))
        case list() | tuple():
            return sum(map(_bytes, state))
    return 0


def _all(pair: Pair) -> Pair:
    return pair


def _alike(one: Pair, other: Pair) -> bool:
    (logits, labels), (others, theirs) = one, other
    return logits.shape[1:] == others.shape[1:] and labels.shape[1:] == theirs.shape[1:]
