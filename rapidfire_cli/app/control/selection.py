"""Which runs a verb is about: numbers, ranges, the best one, or a condition on knobs or on a metric."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rapidfire_cli.app.files import argument, reload
from rapidfire_cli.app.selection import invalid_selection, named_numbers
from rapidfire_cli.facts import reading
from rapidfire_cli.manifest.choice import chooser
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.store.ranking import direction_of, known_metrics, unknown
from rapidfire_cli.terms import RunState

WHERE, WORSE = "--where", "--worse-than"

_WORSE = re.compile(r"\s*(?P<metric>\S+)\s+(?P<value>\S+)\s*")


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs that a verb is asked about. Conditions narrow down what the words name, or else all runs."""

    words: tuple[str, ...]
    where: str | None = None
    worse: str | None = None

    @property
    def is_by_condition(self) -> bool:
        """Whether no run was named, so that runs which the verb does not apply to are left out."""
        return not self.words


def selected(selection: Selection, seen: Overview) -> tuple[int, ...]:
    """The numbers of the selected runs, in order. Raises Refusal."""
    if not (selection.words or selection.where or selection.worse):
        hint = "name runs (`3`, `3-7`, `best`), or use `--where` or `--worse-than`"
        raise Refusal([Problem("E516", "no runs are selected", hint=hint)])
    numbers = [row.number for row in seen.rows]
    if selection.words:
        numbers = [*named_numbers(selection.words, seen)]
    if selection.where is not None:
        numbers = [*_matching(selection.where, numbers, seen)]
    if selection.worse is not None:
        numbers = [*_worse(selection.worse, numbers, seen)]
    return tuple(dict.fromkeys(numbers))


def _matching(condition: str, numbers: Sequence[int], seen: Overview) -> Iterator[int]:
    chosen = chooser(reload(seen.home.file), condition, argument(WHERE, condition))
    for one in known_runs(seen.home.journal, 1):
        if one.run.number in numbers and chosen(one.run):
            yield one.run.number


def _worse(text: str, numbers: Sequence[int], seen: Overview) -> Iterator[int]:
    """Runs whose metric at their last finished epoch is worse; one that lacks it is not."""
    found = _WORSE.fullmatch(text)
    try:
        bound = float(found["value"]) if found else None
    except ValueError:
        bound = None
    if found is None or bound is None:
        raise Refusal(
            [invalid_selection(WORSE, text, "invalid comparison", "METRIC VALUE, such as 'loss 2.0'")]
        )
    metric, objective = found["metric"], seen.objective
    known = known_metrics(seen.rows)
    if known and (problem := unknown(metric, known, argument(WORSE, text))):
        raise Refusal([problem])
    lower = (objective.direction if metric == objective.metric else direction_of(metric, seen.rows)) == "min"
    split, name = reading(known, metric)
    for row in seen.rows:
        value = row.metrics.get(split, {}).get(name)
        is_better = value is None or (value <= bound if lower else value >= bound)  # NaN never is
        if row.number in numbers and row.state is not RunState.DELETED and not is_better:
            yield row.number
