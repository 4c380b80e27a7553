"""What has changed under the runs of an experiment since they were last trained: code, data, environment."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping

from rapidfire_cli.engine.driver import CodeChanged
from rapidfire_cli.engine.messages import Probed, RunOpened
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.store.standings import Standing
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.wording import numbered

WAYS_ON = "`fit --fresh` starts over, `fit --accept-changes` goes on with what is there now"


def check(stood: Mapping[int, Standing], answer: Probed, accepted: bool) -> None:
    """Refuse to continue runs with other code or data than they began with, unless that is `accepted`.

    What cannot be refused is said on stderr. Raises Refusal.
    """
    pairs = [(was, now) for now in answer.continued if (was := stood[now.run].opened)]
    if (changed := [*_changed(pairs)]) and not accepted:
        raise Refusal([_problem(changed, sorted({now.run for was, now in pairs if [*_changes(was, now)]}))])
    for told in (*_environments(pairs), *_older(stood.values(), json.loads(answer.code))):
        print(told, file=sys.stderr)


def meanwhile(change: CodeChanged) -> Problem:
    """The code changed while runs were trained."""
    run, was, now = change.args
    names = ", ".join(f"module {name}" for name in _differing(was, now))
    message = f"run {run} would be trained by a new worker with other code than the runs beside it"
    return Problem("E606", message, found=f"changed: {names}", hint=WAYS_ON)


def _problem(changed: Iterable[str], runs: list[int]) -> Problem:
    message = f"{numbered(runs)} would continue from a checkpoint with other code or data"
    return Problem("E606", message, found=f"changed: {', '.join(changed)}", hint=WAYS_ON)


def _changed(pairs: Iterable[tuple[RunOpened, RunOpened]]) -> Iterator[str]:
    """What changed, each thing once."""
    return iter(dict.fromkeys(change for was, now in pairs for change in _changes(was, now)))


def _changes(was: RunOpened, now: RunOpened) -> Iterator[str]:
    yield from (f"module {name}" for name in _differing(was.code, now.code))
    yield from (f"split {name}" for name in _differing(was.data, now.data))


def _differing(was: str, now: str) -> list[str]:
    """The names whose hash or version is not what it was."""
    before, after = json.loads(was), json.loads(now)
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _environments(pairs: Iterable[tuple[RunOpened, RunOpened]]) -> Iterator[str]:
    """The runs that go on elsewhere than they were."""
    moved: dict[str, list[int]] = {}
    for was, now in pairs:
        before, after = json.loads(was.environment), json.loads(now.environment)
        names = _differing(was.environment, now.environment)
        if names:
            told = ", ".join(f"{name} was {before.get(name)}, is {after.get(name)}" for name in names)
            moved.setdefault(told, []).append(now.run)
    for told, runs in moved.items():
        yield f"warning: {numbered(runs)} will not be bit for bit what an undisturbed fit makes: {told}"


def _older(stood: Iterable[Standing], code: Mapping[str, str]) -> Iterator[str]:
    """The completed runs whose code has changed since."""
    done = [(one.run.number, one.opened) for one in stood if one.state is RunState.COMPLETED]
    runs = [number for number, opened in done if opened and json.loads(opened.code) != code]
    if runs:
        yield f"note: {numbered(runs)} {'was' if len(runs) == 1 else 'were'} trained with older code"
