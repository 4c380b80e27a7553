"""Turn a worker's answer to a Probe into problems, located in the experiment file."""

from collections.abc import Iterable, Iterator, Sequence

from rapidfire_cli.app.files import code
from rapidfire_cli.engine.messages import Assignment, Finding, Preparation, Probe, Probed
from rapidfire_cli.facts import reading
from rapidfire_cli.manifest.brackets import bracket_specs
from rapidfire_cli.manifest.origin import key_of, nearest, origin
from rapidfire_cli.manifest.representatives import Representatives
from rapidfire_cli.problems import Problem, Span, did_you_mean
from rapidfire_cli.syntax.ast import AdaptiveSearch, ExperimentFile, Path
from rapidfire_cli.terms import TRAIN, VALIDATION, Run

SPLITS = (TRAIN, VALIDATION)
"""What may stand before a metric's name: `train.loss`."""


def question(outline: Representatives, continued: Iterable[Assignment] = ()) -> tuple[Probe, tuple[Run, ...]]:
    """The Probe for the shapes and `train` sections of the runs, and the runs it is about, in order."""
    kinds, others = outline.kinds, outline.others
    leaves, more = (tuple(run.config for run in some) for some in (kinds, others))
    return Probe(leaves, tuple(continued), more, kinds[0].seed if kinds else 0), (*kinds, *others)


def preparation(runs: Sequence[Run], seed: int, kept: bool = False) -> Preparation:
    """The order to prepare files for all these runs; files that are `kept` must not change."""
    return Preparation(tuple(dict.fromkeys(run.config for run in runs)), seed, kept)


def problems(
    file: ExperimentFile, samples: Sequence[Run], answer: Probed, required: Iterable[tuple[str, Span]] = ()
) -> tuple[Problem, ...]:
    """All problems, one per place; `samples` are the runs of the Probe, in its order.

    `required` are metrics that something beside the file asks for, and where.
    """
    first: dict[object, Problem] = {}
    for finding in answer.findings:
        problem = located(file, samples, finding)
        place = finding.message if finding.leaf < 0 else finding.path
        first.setdefault((finding.code, place, problem.span), problem)
    found = [*first.values()]
    found += _unmeasured(file, samples, answer.measured)
    found += filter(None, (_unknown(metric, answer.measured, at) for metric, at in required))
    return tuple(dict.fromkeys(found))


def located(file: ExperimentFile, samples: Sequence[Run], finding: Finding) -> Problem:
    """The finding as a problem of the file, or of the user's code."""
    return Problem(
        *(finding.code, finding.message, _span(file, samples, finding)),
        *(finding.found, finding.expected, finding.hint),
        traceback=finding.traceback,
    )


def _span(file: ExperimentFile, samples: Sequence[Run], finding: Finding) -> Span | None:
    """The place in the user's code, or in the file; None if there is neither."""
    if finding.at:
        return code(Span(*finding.at))
    if finding.leaf < 0:
        return nearest(file.origins, finding.path)
    if not finding.path:
        return None
    return (key_of if finding.of_key else origin)(file, samples[finding.leaf], finding.path)


def _unknown(metric: str, measured: Sequence[Sequence[str]], at: Span | None) -> Problem | None:
    """The problem of a metric that none of these runs measures; None if it is measured or unknown."""
    known = dict.fromkeys(name for names in measured for name in names)
    _, name = reading(dict.fromkeys(SPLITS, known), metric)
    if not all(measured) or name in known:
        return None
    expected, hint = f"one of {', '.join(known)}", did_you_mean(metric, known)
    return Problem("E421", f"no run measures `{metric}`", at, metric, expected, hint)


def _unmeasured(
    file: ExperimentFile, samples: Sequence[Run], measured: Sequence[Sequence[str]]
) -> Iterator[Problem]:
    """The problems of metrics that runs are compared by but do not measure."""
    for metric, at, group in deciding(file):
        among = [names for run, names in zip(samples, measured, strict=False) if group in (None, run.group)]
        if among and (problem := _unknown(metric, among, nearest(file.origins, at))):
            yield problem


def deciding(file: ExperimentFile) -> Iterator[tuple[str, Path, int | None]]:
    """Each metric that runs are ranked or pruned by, its place, and its group."""
    if file.objective:
        yield file.objective.metric, ("objective", "metric"), None
    for index, group in enumerate(file.groups, 1):
        for metric, at in dict.fromkeys((spec.rule.metric, spec.at) for spec in bracket_specs(group)):
            yield metric, (*at, "metric"), index
        if isinstance(group.generator, AdaptiveSearch):
            yield group.generator.metric, (*group.at, "metric"), index
