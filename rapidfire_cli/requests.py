"""Requests: what people ask of an experiment's runs, and how each is answered.

Theory of operation. A client makes a request with a UUID of its own, so that sending it twice is harmless.
The process that holds the experiment's lock takes requests one after the other, decides about every run that
one names (`control.decisions`), and answers run by run. Request and answers are one fact of the journal.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

from rapidfire_cli.records import by_name, from_plain, to_plain
from rapidfire_cli.terms import RunState

Source: TypeAlias = Literal["cli", "web", "top", "python", "notebook"]
"""The kind of client that a request came from."""

Warm: TypeAlias = Literal["all", "matching"]
"""Load all tensors, which must fit, or those that fit."""

Outcome: TypeAlias = Literal["applied", "accepted", "refused"]
"""Done, begun (a run that is stopping), or not done, for a reason."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Train these runs no further; `at_once` does not wait for the next optimizer step."""

    runs: tuple[int, ...]
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Resume:
    """Train these runs on: stopped, stopping, pruned or failed ones."""

    runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Move these runs to the trash; a run that trains is stopped first."""

    runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Restore:
    """Bring these runs back from the trash."""

    runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Purge:
    """Free the disk of these deleted runs, for good."""

    runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep the last durable epoch end of each of these runs, whatever is saved later."""

    runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """Keep the newest of the kept epoch ends of each of these runs no longer; an undo can come to it."""

    runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CloneRun:
    """Train a copy of each of these runs, with changed knobs."""

    runs: tuple[int, ...]
    changes: tuple[str, ...] = ()  # PATH=VALUE, as after `--set`
    warm: Warm | None = None  # begin with the run's weights
    source: str = "last"  # the epoch end whose weights they are: last, best, epoch:N
    epochs: int | None = None  # to train; None for as many as the run
    seed: int | None = None  # None for that of the run
    replicate: bool = False  # train the same config with the seed of a further replicate
    keep_schedule: bool = False  # continue the learning-rate schedule where the run's was
    wait: bool = False  # for the end of an epoch, where none is durable yet


@dataclass(frozen=True, slots=True)
class Undo:
    """Revert one's own last request."""


Ask: TypeAlias = Stop | Resume | Delete | Restore | Purge | Keep | Release | CloneRun | Undo
"""What can be asked for."""

AboutRuns: TypeAlias = Stop | Resume | Delete | Restore | Purge | Keep | Release | CloneRun
"""What names the runs that it is about."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the journal keeps it."""

    id: str  # a UUID that the client made
    source: Source
    ask: Ask
    if_state: str | None = None  # runs in another state are refused
    uid: int = -1  # of the client, as the kernel says; -1 before it was received
    pid: int = -1
    means: AboutRuns | None = None  # of an undo: what it comes to


def subject(request: Request) -> AboutRuns | None:
    """What is asked for in the end; None for an undo that came to nothing."""
    return request.means if isinstance(request.ask, Undo) else request.ask


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request for one run."""

    run: int  # 0 when the request is refused as a whole
    outcome: Outcome
    text: str  # `stopping`, or the reason of a refusal
    hint: str = ""
    changed: bool = False  # whether it had an effect
    born: int = 0  # the number of a clone


KINDS = by_name((*get_args(Ask), Request, Answer))
SOURCES = get_args(Source)

SOURCE = re.compile(r"last|best|epoch:[1-9]\d{0,8}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def encode(record: Request | Answer | tuple[Answer, ...]) -> str:
    """The record as one line of JSON, without the line's end."""
    return json.dumps(to_plain(record))


def decode_request(line: str | bytes) -> Request:
    """The request in a line that anybody may have sent. Raises ValueError."""
    try:
        found = from_plain(json.loads(line), KINDS)
    except (KeyError, TypeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"not a request: {error!r}") from None
    if not isinstance(found, Request) or not _is_sound(found):
        raise ValueError("not a request")
    return found


def decode_answers(plain: Any) -> tuple[Answer, ...]:
    """The answers in plain data."""
    found: tuple[Answer, ...] = from_plain(plain, KINDS)
    return found


def ask_plain(ask: Ask) -> Mapping[str, Any]:
    """What is asked for as plain data, for people and programs."""
    return {field.name: to_plain(getattr(ask, field.name)) for field in fields(ask)}


def _is_sound(request: Request) -> bool:
    """Whether every field has its type: the controller must survive whatever it is sent."""
    return (
        isinstance(request.id, str)
        and _UUID.fullmatch(request.id) is not None
        and request.source in SOURCES
        and (request.if_state is None or request.if_state in [*RunState])
        and type(request.uid) is type(request.pid) is int
        and (request.means is None or _names_runs(request.means))
        and (isinstance(request.ask, Undo) or _names_runs(request.ask))
    )


def _names_runs(ask: object) -> bool:
    if isinstance(ask, Stop):
        return _are_numbers(ask.runs) and isinstance(ask.at_once, bool)
    if isinstance(ask, CloneRun):
        return _are_numbers(ask.runs) and _is_sound_clone(ask)
    return isinstance(ask, Resume | Delete | Restore | Purge | Keep | Release) and _are_numbers(ask.runs)


def _is_sound_clone(ask: CloneRun) -> bool:
    return (
        isinstance(ask.changes, tuple)
        and all(isinstance(each, str) for each in ask.changes)
        and ask.warm in (None, *get_args(Warm))
        and isinstance(ask.source, str)
        and SOURCE.fullmatch(ask.source) is not None
        and all(each is None or (type(each) is int and each >= 0) for each in (ask.epochs, ask.seed))
        and isinstance(ask.replicate, bool)
        and isinstance(ask.keep_schedule, bool)
        and isinstance(ask.wait, bool)
    )


def _are_numbers(runs: object) -> bool:
    return isinstance(runs, tuple) and bool(runs) and all(type(run) is int and run >= 1 for run in runs)
