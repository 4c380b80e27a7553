"""Check what changed since runs were last trained: code, data, environment."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from rapidfire_cli.engine.jobs import CodeChanged
from rapidfire_cli.engine.messages import Probed
from rapidfire_cli.facts import PREPARED, RunOpened
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.store.known_runs import KnownRun
from rapidfire_cli.terms import Run, RunState, canonical
from rapidfire_cli.view.wording import numbered

WAYS_ON = "use `fit --fresh` to start over, or `fit --accept-changes` to continue"


def check_resume(
    stood: Mapping[int, KnownRun], listed: Sequence[Run], answer: Probed, accepted: bool
) -> None:
    """Refuse to continue runs whose code or data changed, unless changes are `accepted`.

    What cannot be refused is said on stderr, of the runs that are `listed`. Raises Refusal.
    """
    pairs = [(was, now) for now in answer.continued if (was := stood[now.run].opened)]
    changes = {now.run: [*_changes(was, now, answer.texts)] for was, now in pairs}
    if any(changes.values()) and not accepted:
        changed = dict.fromkeys(change for of_run in changes.values() for change in of_run)
        raise Refusal([_problem(changed, sorted(run for run, of_run in changes.items() if of_run))])
    known = [stood[run.number] for run in listed if run.number in stood]
    for told in (*_environments(pairs), *_older(known, answer)):
        print(told, file=sys.stderr)


def code_changed(change: CodeChanged) -> Problem:
    """The problem of code that changed during training."""
    run, was, now = change.args
    names = ", ".join(f"module {name}" for name in _differing(was, now))
    message = f"the code changed during training: a new worker would train run {run} with different code"
    return Problem("E606", message, found=f"changed: {names}", hint=WAYS_ON)


def changed_since(was: RunOpened, now: RunOpened, texts: str) -> Iterator[str]:
    """The lines about a trained run that is used with other code, data or in another environment.

    Modules count that it was trained with, since a script of one's own uses it with more; data count where
    `now` has any.
    """
    code = {name: told for name, told in json.loads(now.code).items() if name in json.loads(was.code)}
    seen = replace(now, code=canonical(code), data=now.data if now.data != "{}" else was.data)
    if changes := [*_changes(was, seen, texts)]:
        yield f"note: run {now.run} was trained with other code or data; changed: {', '.join(changes)}"
    for told, _ in _moved([(was, now)]):
        yield f"note: run {now.run} was trained in another environment: {told}"


def _problem(changed: Iterable[str], runs: list[int]) -> Problem:
    message = f"code or data changed since the last checkpoint of {numbered(runs)}"
    return Problem("E606", message, found=f"changed: {', '.join(changed)}", hint=WAYS_ON)


def _changes(was: RunOpened, now: RunOpened, texts: str) -> Iterator[str]:
    yield from (f"module {name}" for name in _rewritten(was.code, now.code, texts))
    for name in _differing(was.data, now.data):
        yield f"the output of `{name}`" if name == PREPARED else f"split {name}"


def _rewritten(was: str, now: str, texts: str) -> list[str]:
    """The modules that changed; fingerprints of earlier versions are compared by `texts`."""
    before, bytes_now = json.loads(was), json.loads(texts)
    return [
        name for name in _differing(was, now) if name not in before or before[name] != bytes_now.get(name)
    ]


def _differing(was: str, now: str) -> list[str]:
    """The names whose hash or version changed."""
    before, after = json.loads(was), json.loads(now)
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _environments(pairs: Iterable[tuple[RunOpened, RunOpened]]) -> Iterator[str]:
    """The warnings about runs that continue in a different environment."""
    for told, runs in _moved(pairs):
        yield f"warning: {numbered(runs)} will not be bitwise reproducible: {told}"


def _moved(pairs: Iterable[tuple[RunOpened, RunOpened]]) -> Iterator[tuple[str, list[int]]]:
    """What changed in environments, and for which runs."""
    moved: dict[str, list[int]] = {}
    for was, now in pairs:
        before, after = json.loads(was.environment), json.loads(now.environment)
        names = _differing(was.environment, now.environment)
        if names:
            told = ", ".join(f"{name} changed from {before.get(name)} to {after.get(name)}" for name in names)
            moved.setdefault(told, []).append(now.run)
    yield from moved.items()


def _older(stood: Iterable[KnownRun], answer: Probed) -> Iterator[str]:
    """The note about completed runs whose code changed since."""
    done = [(one.run.number, one.opened) for one in stood if one.state is RunState.COMPLETED]
    runs = [number for number, was in done if was and _rewritten(was.code, answer.code, answer.texts)]
    if runs:
        yield f"note: {numbered(runs)} {'was' if len(runs) == 1 else 'were'} trained with older code"
