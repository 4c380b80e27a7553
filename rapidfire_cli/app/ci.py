"""Options of `fit` for scripts and CI: shards, stopping at the first failure, required results."""

import math
import operator
import os
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from rapidfire_cli.app.files import argument
from rapidfire_cli.engine.ports import Audience
from rapidfire_cli.engine.signals import StopSignal
from rapidfire_cli.facts import Fact, RunChanged, RunReplaced, reading
from rapidfire_cli.manifest.origin import nearest
from rapidfire_cli.problems import Problem, Refusal, Severity, Span
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.store.ranking import known_metrics, ranking, unknown
from rapidfire_cli.store.replicates import Spread, spread
from rapidfire_cli.syntax.ast import AdaptiveSearch, ExperimentFile, PopulationTraining
from rapidfire_cli.syntax.overrides import Argument, arguments
from rapidfire_cli.terms import Epoch, Plain, Run, RunState, Split, spoken
from rapidfire_cli.view.findings import notice
from rapidfire_cli.view.wording import numbered

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
Known: TypeAlias = "Mapping[Split, Collection[str]]"
"""The names of the metrics that runs have, by split."""

_SHARD = re.compile(r"([1-9]\d{0,8})/([1-9]\d{0,8})")


@dataclass(frozen=True, slots=True)
class Requirement:
    """What the best run's metric must be."""

    text: str
    metric: str
    operator: str
    bound: float
    at: Span = field(compare=False)  # of the metric

    def met(self, value: float | None) -> bool:
        """Whether the value meets the requirement; a missing value and NaN never do."""
        return value is not None and not math.isnan(value) and OPERATORS[self.operator](value, self.bound)


@dataclass(frozen=True, slots=True)
class Gate:
    """A requirement and the value it is compared with: the best run's, or the mean of the best replicates."""

    required: Requirement
    runs: tuple[int, ...]  # of the best leaf config
    value: Spread | None  # None where none of them has the metric
    epoch: int | None = None  # of the value, where it is one run's best

    @property
    def met(self) -> bool:
        return self.required.met(self.value.mean if self.value else None)

    @property
    def text(self) -> str:
        """The requirement and the value, in words."""
        shown = f"{self.value.mean:.6g}" if self.value else "no such metric yet"
        if not self.runs:
            told = "no run has a result yet"
        elif len(self.runs) == 1:
            at = f" at epoch {self.epoch}" if self.epoch else ""
            told = f"the best run, {self.runs[0]}, has {shown}{at}"
        else:
            of = numbered(self.value.runs if self.value else self.runs)
            told = f"the mean of {of} (replicates of the best leaf config) is {shown}"
        return f"required {self.required.text}: {told}"

    @property
    def record(self) -> dict[str, Plain]:
        """The gate as plain data."""
        value, runs = self.value, self.value.runs if self.value else self.runs
        return {
            "requirement": self.required.text,
            "met": self.met,
            "value": spoken(value.mean) if value else None,
            "std": spoken(value.deviation) if value else None,
            "runs": list(runs),
            "epoch": self.epoch,
        }


@dataclass(frozen=True, slots=True)
class Shard:
    """Every `count`-th leaf config, from the `index`-th on, with all its replicates."""

    index: int  # 1, 2, …
    count: int

    def of(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        """This shard's share; the shards together are the whole."""
        configs = [*dict.fromkeys(run.config for run in runs)]
        mine = {*configs[self.index - 1 :: self.count]}
        return tuple(run for run in runs if run.config in mine)


class FailFast:
    """An audience that stops training at the first run that fails and is not replaced."""

    def __init__(self, others: Audience, stop: StopSignal) -> None:
        self._others = others
        self._stop = stop

    def tell(self, facts: Sequence[Fact]) -> None:
        """Pass the facts on, and stop at a failure."""
        self._others.tell(facts)
        failed = {
            fact.run for fact in facts if isinstance(fact, RunChanged) and fact.state is RunState.FAILED
        }
        if failed - {fact.run for fact in facts if isinstance(fact, RunReplaced)}:
            self._stop.ask()


def requirements(texts: Sequence[str]) -> tuple[Requirement, ...]:
    """Parse the arguments of `--require`. Raises Refusal with every invalid one."""
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
        return Problem("E513", "invalid requirement", said.span(), expected=expected)
    if bound is None:
        return Problem("E513", "not a number", said.span(*found.span("bound")), expected="a number")
    return Requirement(said.text, found["metric"], found["operator"], bound, said.span(*found.span("metric")))


def shard(text: str) -> Shard:
    """shard := index `/` count. Raises Refusal."""
    found = _SHARD.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        expected = "INDEX/COUNT, such as 2/4 for the second of four shards"
        raise Refusal([Problem("E514", f"invalid shard `{text}`", argument(SHARD, text), expected=expected)])
    return Shard(int(found[1]), int(found[2]))


def check_shards(file: ExperimentFile) -> None:
    """Raises Refusal if runs of the file are born during a fit, which the shards could not share."""
    for group in file.groups:
        if isinstance(group.generator, AdaptiveSearch | PopulationTraining):
            message = f"a `{group.at[-1]}` cannot be trained in shards"
            hint = "leave `--shard` out, or use `randomsearch:`"
            raise Refusal([Problem("E518", message, nearest(file.origins, group.at), hint=hint)])


def judge(seen: Overview, required: Sequence[Requirement]) -> tuple[Gate, ...]:
    """Compare the best leaf config, by the experiment's objective, with the requirements.

    A run's metrics count at the epoch that the objective names. Raises Refusal when no run has such a metric.
    """
    known = known_metrics(seen.rows)
    if known and (problems := list(filter(None, (unknown(one.metric, known, one.at) for one in required)))):
        raise Refusal(problems)
    best = ranking(seen.rows, seen.objective)[:1] if required else []
    rows = best[0].rows if best else ()
    return tuple(_gate(one, rows, known, seen.objective.at) for one in required)


def _gate(one: Requirement, rows: Sequence[RunRow], known: Known, at: Epoch) -> Gate:
    found = spread(rows, *reading(known, one.metric), at)
    epoch = rows[0].best.epoch if at == "best" and len(rows) == 1 and rows[0].best else None
    return Gate(one, tuple(row.number for row in rows), found, epoch)


def say_gates(gates: Sequence[Gate]) -> int:
    """Print each requirement's result on stderr, missed ones as errors on GitHub; return the exit code."""
    for gate in gates:
        if not gate.met and os.environ.get("GITHUB_ACTIONS") == "true":
            print(notice(Severity.ERROR, REQUIRE, gate.text), file=sys.stderr)
        print(f"{gate.text} (met)" if gate.met else gate.text, file=sys.stderr)
    return 0 if all(gate.met for gate in gates) else MISSED


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number
