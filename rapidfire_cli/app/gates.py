"""What scripts ask of a `fit`: a share of the runs, a stop at the first failure, a good enough result."""

import math
import operator
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rapidfire_cli.engine.messages import reading
from rapidfire_cli.engine.ports import Audience, Fact, RunChanged
from rapidfire_cli.engine.signals import StopSignal
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.store.home import Home
from rapidfire_cli.store.queries import overview
from rapidfire_cli.store.ranking import known_metrics, ranking
from rapidfire_cli.store.replicates import spread
from rapidfire_cli.terms import RunState

MISSED = 3  # the exit code of a gate that failed

OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}
_REQUIREMENT = re.compile(rf"\s*([^\s<>=!]+)\s*({'|'.join(OPERATORS)})\s*(\S+)\s*")
_SHARD = re.compile(r"([1-9]\d{0,8})/([1-9]\d{0,8})")

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Requirement:
    """What the best run's metric must be."""

    text: str
    metric: str
    operator: str
    bound: float

    def met(self, value: float | None) -> bool:
        """Whether the value is good enough; none and NaN never are."""
        return value is not None and not math.isnan(value) and OPERATORS[self.operator](value, self.bound)


@dataclass(frozen=True, slots=True)
class Shard:
    """Every `count`-th run, from the `index`-th on."""

    index: int  # 1, 2, …
    count: int

    def of(self, items: Sequence[Item]) -> tuple[Item, ...]:
        """This shard's share; the shards together are the whole."""
        return tuple(items[self.index - 1 :: self.count])


class FailFast:
    """An audience that asks for a stop at the first run that fails."""

    def __init__(self, others: Audience, stop: StopSignal) -> None:
        self._others = others
        self._stop = stop

    def tell(self, facts: Sequence[Fact]) -> None:
        """Pass the facts on, and look out for a failure."""
        self._others.tell(facts)
        if any(isinstance(fact, RunChanged) and fact.state is RunState.FAILED for fact in facts):
            self._stop.ask()


def requirement(text: str) -> Requirement:
    """requirement := metric (`>=` | `<=` | `>` | `<` | `==` | `!=`) number. Raises Refusal."""
    found = _REQUIREMENT.fullmatch(text)
    bound = _number(found[3]) if found else None
    if found is None or bound is None:
        expected = "METRIC OPERATOR NUMBER, such as top1_accuracy>=0.9"
        raise Refusal([Problem("E513", "`--require` cannot be read", found=text, expected=expected)])
    return Requirement(text, found[1], found[2], bound)


def shard(text: str) -> Shard:
    """shard := index `/` count. Raises Refusal."""
    found = _SHARD.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        expected = "INDEX/COUNT, such as 2/4 for the second of four shards"
        raise Refusal([Problem("E514", "`--shard` cannot be read", found=text, expected=expected)])
    return Shard(int(found[1]), int(found[2]))


def judge(home: Home, required: Sequence[Requirement]) -> int:
    """Hold the best run, by the experiment's objective, against what is required; the exit code."""
    if not required:
        return 0
    seen = overview(home.journal, alive=False)
    best, known = ranking(seen.rows, seen.about.objective)[0], known_metrics(seen.rows)
    code = 0
    for one in required:
        found = spread(best.rows, *reading(known, one.metric))
        if not one.met(found.mean if found else None):
            shown = f"{found.mean:.6g}" if found else "no such metric"
            print(f"required {one.text}: the best run, {best.row.number}, has {shown}", file=sys.stderr)
            code = MISSED
    return code


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number
