"""Requests and their answers, for people and for programs."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields

from rapidfire_cli.requests import Answer, Ask, CloneRun, ask_plain
from rapidfire_cli.store.requests_taken import Recorded
from rapidfire_cli.terms import Plain
from rapidfire_cli.view.formats import Record
from rapidfire_cli.view.tables import Column, Table
from rapidfire_cli.view.wording import moment_text, numbered, ranges

OPTIONS = {"at_once": "--now", "changes": "--set", "warm": "--warm-start", "source": "--from"}
"""Options of the command line by the names of a request's fields, where they differ."""


def answer_lines(answer: Answer) -> Iterator[str]:
    """`run 3: stopping`; a refusal with its hint."""
    about = f"run {answer.run}: " if answer.run else ""
    yield f"{about}{'refused: ' * (answer.outcome == 'refused')}{answer.text}"
    if answer.hint:
        yield f"hint: {answer.hint}"


def answer_record(answer: Answer) -> Record:
    """The answer as plain data."""
    return {
        "run": answer.run,
        "outcome": answer.outcome,
        "text": answer.text,
        "hint": answer.hint or None,
        "changed": answer.changed,
    }


def taken_record(recorded: Recorded) -> dict[str, Plain]:
    """A request and its answers as plain data."""
    request = recorded.taken.request
    return {
        "at": moment_text(recorded.at),
        "id": request.id,
        "source": request.source,
        "uid": request.uid,
        "pid": request.pid,
        "verb": _verb(request.ask),
        "arguments": dict(ask_plain(request.ask)),
        "if_state": request.if_state,
        "answers": [dict(answer_record(answer)) for answer in recorded.taken.answers],
    }


def requests_table(recorded: Sequence[Recorded]) -> Table[Recorded]:
    """The requests, the first one first."""
    return Table(
        (
            Column("at", lambda each: moment_text(each.at), drop_order=1),
            Column("source", lambda each: each.taken.request.source, drop_order=2),
            Column("uid", lambda each: str(each.taken.request.uid), right=True, drop_order=3),
            Column("request", lambda each: command_text(each.taken.request.ask)),
            Column("answer", lambda each: _answered(each.taken.answers)),
        ),
        recorded,
    )


def _verb(ask: Ask) -> str:
    return "clone" if isinstance(ask, CloneRun) else type(ask).__name__.lower()


def command_text(ask: Ask) -> str:
    """As a person could have typed it: `stop 3 5-7 --now`."""
    words = [_verb(ask)]
    usual = {field.name: field.default for field in fields(ask)}
    for name, value in ask_plain(ask).items():
        option = OPTIONS.get(name) or f"--{name.replace('_', '-')}"
        match value:
            case list() if name == "changes":
                words += [f"{option} {shlex.quote(str(item))}" for item in value]
            case list() if name == "runs":
                words += ranges(sorted(int(str(run)) for run in value))
            case True:
                words.append(option)
            case _ if value != usual[name]:
                words.append(f"{option}={value}")
    return " ".join(words)


def _answered(answers: Sequence[Answer]) -> str:
    """`stopping` for one run or for all; else each text with its runs."""
    texts: dict[str, list[int]] = {}
    for answer in answers:
        prefix = "refused: " if answer.outcome == "refused" else ""
        texts.setdefault(f"{prefix}{answer.text}", []).append(answer.run)
    if len(texts) == 1:
        return next(iter(texts))
    return "; ".join(f"{numbered(runs)} {text}" for text, runs in texts.items())
