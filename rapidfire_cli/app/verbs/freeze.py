"""`freeze`: an experiment file that reproduces the runs of an experiment, clones included."""

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rapidfire_cli.app.control.selection import Selection, selected
from rapidfire_cli.app.files import reload
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.durable import publication
from rapidfire_cli.manifest.identity import identify
from rapidfire_cli.problems import Problem, Refusal, Span
from rapidfire_cli.store.explain import missing
from rapidfire_cli.store.known_runs import KnownRun, known_runs
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.syntax.ast import Config, ExperimentFile, Group
from rapidfire_cli.syntax.parser import slug
from rapidfire_cli.syntax.printer import to_json, to_toml, to_yaml
from rapidfire_cli.terms import Run, RunState, WarmStart
from rapidfire_cli.view.wording import counted

LEFT_OUT = frozenset({RunState.STOPPED, RunState.PRUNED, RunState.FAILED, RunState.DELETED})
NOTATIONS = {".json": to_json, ".toml": to_toml}  # by suffix; anything else is YAML, as when it is read


def freeze(
    experiment: str | None,
    parent: str | None,
    file: Path,
    force: bool = False,
    selection: Selection | None = None,
    dry_run: bool = False,
) -> int:
    """Write the file in the notation that its suffix names; return the exit code.

    Without a selection, all completed and unfinished runs are written; with `dry_run`, nothing is. Raises
    Refusal when no run is to be reproduced, a named one cannot be, the file is a directory, or it exists
    without `force`.
    """
    if file.is_dir():
        hint = "name a file, such as `-o frozen.yaml`"
        raise Refusal([Problem("E502", f"{file} is a directory", hint=hint)])
    if file.exists() and not (force or dry_run):
        hint = "name another file, or use `--force` to replace it"
        raise Refusal([Problem("E505", "this file already exists", Span(str(file), 1, 1), hint=hint)])
    seen = open_overview(experiment, parent, unlisted=selection is not None)
    home, known = seen.home, known_runs(seen.home.journal, 1)
    chosen = selected(selection, seen) if selection else [one.run.number for one in known]
    if selection and not selection.is_by_condition:
        _check_named(seen, known, chosen)
    runs = frozen_runs(known, chosen)
    if not runs:
        raise Refusal([Problem("E602", f"no run of {home.path} is completed or to be trained")])
    if not dry_run:
        write = NOTATIONS.get(file.suffix.lower(), to_yaml)
        publication.write(file, write(frozen(reload(home.file), runs, slug(file.stem))))
    before = len({run.number for run in runs} - {*chosen})
    more = f", {before} of them for the weights that others begin with" if before else ""
    verb = "dry run: would write" if dry_run else "wrote"
    print(f"{verb} {file}: {counted(len(runs), 'run')}{more}", file=sys.stderr)
    return 0


def _check_named(seen: Overview, known: Iterable[KnownRun], named: Sequence[int]) -> None:
    """Raise Refusal if a named run does not exist, or has not come to an outcome that a file reproduces."""
    states = {one.run.number: one.state for one in known}
    if lost := [run for run in named if run not in states]:
        raise Refusal([missing(seen, run) for run in lost])
    hint = "`rapidfire resume` trains stopped, pruned and failed runs on, `restore` brings deleted ones back"
    told = [
        f"run {run} is {states[run]}, so no file reproduces it" for run in named if states[run] in LEFT_OUT
    ]
    if told:
        raise Refusal([Problem("E516", text, hint=hint) for text in told])


def frozen_runs(known: Iterable[KnownRun], numbers: Collection[int]) -> list[Run]:
    """Of these runs the completed and unfinished ones, and those whose weights they begin with, by number."""
    by_id = {one.run.id: one.run for one in known}
    chosen = {
        one.run.number: one.run for one in known if one.state not in LEFT_OUT and one.run.number in numbers
    }
    for run in [*chosen.values()]:
        start = run.warm_start
        while start and (source := by_id.get(start.run)):
            chosen[source.number] = source
            start = source.warm_start
    return [chosen[number] for number in sorted(chosen)]


def frozen(file: ExperimentFile, runs: Iterable[Run], name: str) -> ExperimentFile:
    """The file with a `config` group for each run; ids are those that the runs have there."""
    ids: dict[str, str] = {}
    groups = []
    for run in runs:
        warm = _renamed(run.warm_start, ids)
        ids[run.id] = identify(file.mlspec, file.data, run.seed, 0, warm)(run.config)
        seed = None if run.seed == file.seed else run.seed
        groups.append(Group(Config(run.leaf, seed=seed, warm_start=warm)))
    return replace(file, name=name, groups=tuple(groups))


def _renamed(warm: WarmStart | None, ids: Mapping[str, str]) -> WarmStart | None:
    return replace(warm, run=ids[warm.run]) if warm else None
