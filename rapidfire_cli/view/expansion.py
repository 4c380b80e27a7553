"""What `expand` prints, for people and for programs."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import TypeAlias

from rapidfire_cli.manifest.codec import write
from rapidfire_cli.manifest.rungs import RunEpochs, Rung
from rapidfire_cli.manifest.summary import Summary
from rapidfire_cli.problems import Refusal
from rapidfire_cli.terms import LeafConfig, Plain, Run
from rapidfire_cli.view.findings import problems_document
from rapidfire_cli.view.formats import Record, csv_lines, json_line, json_text, yaml_text
from rapidfire_cli.view.knob_columns import knob_columns
from rapidfire_cli.view.tables import Column, Table
from rapidfire_cli.view.wording import counted

BATCH = 1024  # runs dumped as YAML at a time (assumed)

Parsed: TypeAlias = tuple[Run, LeafConfig]

_REPLICATE: Column[Parsed] = Column("replicate", lambda row: str(row[0].replicate), right=True)


def expansion_table(runs: Iterable[Run], varied: Sequence[str]) -> Table[Parsed]:
    """The runs of a file, with the knobs that vary."""
    rows: list[Parsed] = [(run, run.leaf) for run in runs]
    columns: list[Column[Parsed]] = [
        Column("run", lambda row: str(row[0].number), right=True),
        Column("id", lambda row: row[0].id, drop_order=3),
        Column("group", lambda row: str(row[0].group), right=True, drop_order=2),
        *([_REPLICATE] if any(run.replicate for run, _ in rows) else []),
        *knob_columns(varied, rows, lambda row: row[1]),
    ]
    return Table(columns, rows)


def json_pieces(description: Record, lines: Iterable[str]) -> Iterator[str]:
    """One JSON document in pieces, a run per line; problems that end the runs early come last."""
    yield json_text(description).removesuffix("\n}") + ',\n  "runs": ['
    between = "\n    "
    try:
        for line in lines:
            yield between + line.rstrip()
            between = ",\n    "
    except Refusal as refusal:
        problems = json_line(problems_document(refusal.problems))
        yield f"\n  ],\n  {problems[1:-1]}\n}}\n"
        raise
    yield "\n  ]\n}\n"


def yaml_pieces(description: Record, runs: Iterator[Run]) -> Iterator[str]:
    """One YAML document in pieces."""
    yield f"{yaml_text(description)}\nruns:"
    some = False
    while batch := [run_record(run) for run in islice(runs, BATCH)]:
        some = True
        yield f"\n{yaml_text(batch)}"
    yield "\n" if some else " []\n"


def csv_pieces(knobs: Sequence[str], runs: Iterable[Run]) -> Iterator[str]:
    """A header and a line per run; `knobs` are all that the runs have."""
    columns = ["number", "id", "group", "seed", "replicate", *(f"config.{knob}" for knob in knobs)]
    records = ({**run_record(run), "replicate": run.replicate} for run in runs)
    return (f"{line}\n" for line in csv_lines(records, columns))


def run_record(run: Run) -> dict[str, Plain]:
    """The run's manifest line as data."""
    record: dict[str, Plain] = json.loads(write(run))
    return record


def group_lines(group: Summary) -> Iterator[str]:
    """A line for the group, then the ladder of its rungs and what that costs."""
    kind = "" if group.path == group.kind else f"  {group.kind}"
    configs = f", {group.replicates} replicates of each leaf config" if group.replicates > 1 else ""
    yield f"  {group.index}  {group.path}{kind}  {_size(group)}{configs}"
    if group.forks:
        yield f"     and {_forks(group)}"
    elif group.proposed:
        yield f"     and {counted(group.proposed, 'run')} that {group.sampler} proposes as results come"
    brackets = [list(rungs) for _, rungs in groupby(group.rungs, lambda rung: rung.bracket)]
    for number, rungs in enumerate(brackets, 1):
        called = f"bracket {number}" if len(brackets) > 1 else "rungs"
        yield f"     {called}: {_ladder(rungs)}"
    if group.run_epochs:
        yield f"     {_cost(group.run_epochs)}"


def _forks(group: Summary) -> str:
    """`18 forks: 2 after each of 9 rounds of 2 epochs`, or without rounds at most as many."""
    moments, forks = group.proposed // group.forks, counted(group.proposed, "fork")
    length = counted(group.perturb_every, "epoch")
    if group.mode == "async":
        often = counted(moments, "interval")
        return f"up to {forks}: at most {group.forks} after each of {often} of {length}"
    return f"{forks}: {group.forks} after each of {counted(moments, 'round')} of {length}"


def _size(group: Summary) -> str:
    """`12 runs`, or `3 of 4 runs (where/exclude removed 1)`."""
    if group.unfiltered is None:
        return counted(group.count, "run")
    removed = f"(where/exclude removed {group.unfiltered - group.count:,})"
    return f"{group.count:,} of {counted(group.unfiltered, 'run')} {removed}"


def _ladder(rungs: Sequence[Rung]) -> str:
    """`8 runs to epoch 1, 4 to 2, 2 to 4, 1 to 8`."""
    first, *others = rungs
    steps = (f"{rung.runs:,} to {rung.epochs:,}" for rung in others)
    return ", ".join([f"{counted(first.runs, 'run')} to epoch {first.epochs:,}", *steps])


def _cost(cost: RunEpochs) -> str:
    """`20 run-epochs (64 without early stopping)`; `160 run-epochs`."""
    if cost.least == cost.uncut:
        return f"{cost.uncut:,} run-epochs"
    most = f" to {cost.most:,}" if cost.most > cost.least else ""
    return f"{cost.least:,}{most} run-epochs ({cost.uncut:,} without early stopping)"
