"""What scripts ask of a `fit`: a share of the runs, a stop at the first failure, a good enough result."""

import math
import operator
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rapidfire_cli.app.files import argument, remember
from rapidfire_cli.engine.messages import reading
from rapidfire_cli.engine.ports import Audience, Fact, RunChanged, RunReplaced
from rapidfire_cli.engine.signals import StopSignal
from rapidfire_cli.problems import Problem, Refusal, Span
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.store.ranking import known_metrics, ranking, unknown
from rapidfire_cli.store.replicates import spread
from rapidfire_cli.syntax.overrides import Argument, arguments
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
REQUIRE, SHARD = "--require", "--shard"

_REQUIREMENT = re.compile(
    rf"\s*(?P<metric>[^\s<>=!]+)\s*(?P<operator>{'|'.join(OPERATORS)})\s*(?P<bound>[^\s=<>!](?:.*\S)?)\s*"
)
_SHARD = re.compile(r"([1-9]\d{0,8})/([1-9]\d{0,8})")

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Requirement:
    """What the best run's metric must be."""

    text: str
    metric: str
    operator: str
    bound: float
    at: Span = field(compare=False)  # of the metric

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
    """An audience that asks for a stop at the first run that fails, unless another one takes its place."""

    def __init__(self, others: Audience, stop: StopSignal) -> None:
        self._others = others
        self._stop = stop

    def tell(self, facts: Sequence[Fact]) -> None:
        """Pass the facts on, and look out for a failure."""
        self._others.tell(facts)
        failed = {
            fact.run for fact in facts if isinstance(fact, RunChanged) and fact.state is RunState.FAILED
        }
        if failed - {fact.run for fact in facts if isinstance(fact, RunReplaced)}:
            self._stop.ask()


def requirements(texts: Sequence[str]) -> tuple[Requirement, ...]:
    """What followed `--require` each time. Raises Refusal with every text that is none."""
    remember(REQUIRE, "\n".join(texts))
    said = [_requirement(argument) for argument in arguments(REQUIRE, texts)]
    if problems := [one for one in said if isinstance(one, Problem)]:
        raise Refusal(problems)
    return tuple(one for one in said if isinstance(one, Requirement))


def _requirement(said: Argument) -> Requirement | Problem:
    """requirement := metric (`>=` | `<=` | `>` | `<` | `==` | `!=`) number."""
    found = _REQUIREMENT.fullmatch(said.text)
    bound = _number(found["bound"]) if found else None
    if found is None:
        expected = "METRIC OPERATOR NUMBER, such as top1_accuracy>=0.9"
        return Problem("E513", "this is no requirement", said.span(), expected=expected)
    if bound is None:
        return Problem("E513", "this is no number", said.span(*found.span("bound")), expected="a number")
    return Requirement(said.text, found["metric"], found["operator"], bound, said.span(*found.span("metric")))


def shard(text: str) -> Shard:
    """shard := index `/` count. Raises Refusal."""
    found = _SHARD.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        expected = "INDEX/COUNT, such as 2/4 for the second of four shards"
        raise Refusal([Problem("E514", "this is no shard", argument(SHARD, text), expected=expected)])
    return Shard(int(found[1]), int(found[2]))


def judge(seen: Overview, required: Sequence[Requirement]) -> int:
    """Hold the best run, by the experiment's objective, against what is required; the exit code."""
    if not required:
        return 0
    best, known = ranking(seen.rows, seen.about.objective)[0], known_metrics(seen.rows)
    code = 0
    if known and (problems := list(filter(None, (unknown(one.metric, known, one.at) for one in required)))):
        raise Refusal(problems)
    for one in required:
        found = spread(best.rows, *reading(known, one.metric))
        if not one.met(found.mean if found else None):
            shown = f"{found.mean:.6g}" if found else "no such metric yet"
            print(f"required {one.text}: the best run, {best.row.number}, has {shown}", file=sys.stderr)
            code = MISSED
    return code


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number
