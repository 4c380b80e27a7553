"""`expand --slots`: simulate the schedule of a file's runs, assuming that nothing fails.

Assumed: every epoch takes as long as any other, and of two runs the one with the lower number is better; a
fork is worse than any. The number of runs that come to each rung does not depend on that.
"""

from collections.abc import Iterator
from itertools import islice

from rapidfire_cli.app.devices import gpus_here
from rapidfire_cli.manifest.brackets import BracketSpec, bracket_specs
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.origin import origin
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.schedule.events import NewRun, RunsAdded
from rapidfire_cli.schedule.simulate import Simulation, Timeline
from rapidfire_cli.stopping.bracket import bracket_state
from rapidfire_cli.stopping.rule import Rule
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import gang_size
from rapidfire_cli.view.wording import counted


def timeline(file: ExperimentFile, slots: int) -> Timeline:
    """Simulate the schedule on `slots` slots, in units of one epoch. Raises Refusal if a run needs more."""
    chunks = file.execution.chunks
    rules: dict[int, Rule] = {}
    arrivals = list(_arrivals(file, chunks, rules, slots))

    def value(run: int, epoch: int) -> float | None:
        return rules[run].assumed(run, epoch) if run in rules else None

    return Simulation(slots, lambda _run, ticks: ticks / chunks, value, chunks).run(arrivals)


def _arrivals(file: ExperimentFile, chunks: int, rules: dict[int, Rule], slots: int) -> Iterator[RunsAdded]:
    """The file's runs, those that train to their end first; `rules` learns who is judged by what."""
    goals: dict[int, dict[int, int]] = {}  # epochs by group and run
    gangs: dict[int, int] = {}
    visible = gpus_here()
    for run in expand(file):
        leaf = run.leaf
        goals.setdefault(run.group, {})[run.number] = leaf["train"]["epochs"]
        gangs[run.number] = size = gang_size(leaf, min(slots, visible))
        if size > slots:
            message = f"run {run.number} needs {counted(size, 'slot')} at once"
            span, hint = origin(file, run, ("train", "gpus")), f"use `--slots {size}`"
            raise Refusal([Problem("E519", message, span, f"{size}", f"at most {slots}", hint)])
    compared: list[tuple[BracketSpec, dict[int, int]]] = []
    for index, group in enumerate(file.groups, 1):
        left = iter(list(goals[index].items()))
        compared += [(spec, dict(islice(left, spec.runs))) for spec in bracket_specs(group)]
        goals[index] = dict(left)
    free = (
        NewRun(run, epochs * chunks, gang=gangs[run])
        for members in goals.values()
        for run, epochs in members.items()
    )
    yield RunsAdded(tuple(free))
    for bracket, (spec, members) in enumerate(compared, 1):
        begun = bracket_state(spec.rule, bracket, members, ())
        rules.update(dict.fromkeys(members, spec.rule))
        entries = [
            NewRun(run, members[run] * chunks, gang=gangs[run], limit=limit * chunks)
            for run, limit in begun.limits.items()
        ]
        yield RunsAdded(tuple(entries), begun.policy, bracket, spec.rule.metric)
