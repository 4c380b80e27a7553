"""What all verbs that steer do: find the runs, ask, print the answers."""

import sys
from collections.abc import Callable
from typing import NamedTuple

from rapidfire_cli.app.control.asking import Reply, new_request, send
from rapidfire_cli.app.control.foreseeing import effects, foreseen
from rapidfire_cli.app.control.selection import Selection, selected
from rapidfire_cli.app.errors import REFUSED
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.printing import print_either
from rapidfire_cli.requests import AboutRuns, Ask
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.requests import answer_lines, answer_record


class Options(NamedTuple):
    """The options that these verbs share."""

    experiment: str | None = None
    parent: str | None = None
    if_state: RunState | None = None
    dry_run: bool = False
    output: Output = Output.TABLE


def steer(
    selection: Selection,
    asking: Callable[[tuple[int, ...]], AboutRuns],
    options: Options,
    confirmed: Callable[[tuple[int, ...]], bool] | None = None,
) -> int:
    """Ask for the selected runs, if that is `confirmed`, and print the answers; return the exit code.

    Raises Refusal when no run is selected, and Held when the experiment's holder does not answer.
    """
    seen = open_overview(options.experiment, options.parent, unlisted=True)
    runs = selected(selection, seen)
    if selection.is_by_condition:
        runs = _applicable(runs, asking, options, seen)
    if not runs:
        print("no run matches", file=sys.stderr)
        return 0
    if confirmed and not confirmed(runs):
        return REFUSED
    return steered(seen, asking(runs), options)


def steered(seen: Overview, ask: Ask, options: Options) -> int:
    """Ask for it and print the answers; return the exit code. Raises Held as `steer` does."""
    request = new_request(ask, "cli", options.if_state)
    if not options.dry_run:
        return show(send(seen.home, request), options)
    reply = foreseen(request, seen)
    code = show(reply, options)
    told = ", ".join(effects(request, reply, seen))
    print(f"dry run: nothing was changed{f' ({told})' if told else ''}", file=sys.stderr)
    return code


def show(reply: Reply, options: Options) -> int:
    """Print the answers: refusals on stderr; the exit code."""
    refused = [answer for answer in reply.answers if answer.outcome == "refused"]
    print_either(
        options.output,
        lambda: _print_lines(reply, options),
        lambda: {"live": reply.live, "answers": [dict(answer_record(answer)) for answer in reply.answers]},
        lambda: map(answer_record, reply.answers),
    )
    return REFUSED if refused else 0


def _print_lines(reply: Reply, options: Options) -> None:
    for answer in reply.answers:
        stream = sys.stderr if answer.outcome == "refused" else sys.stdout
        print("\n".join(answer_lines(answer)), file=stream)
    if not options.dry_run and not reply.live and any(answer.changed for answer in reply.answers):
        print("no fit is running; the next `rapidfire fit` goes by this", file=sys.stderr)


def _applicable(
    runs: tuple[int, ...], asking: Callable[[tuple[int, ...]], AboutRuns], options: Options, seen: Overview
) -> tuple[int, ...]:
    """Those that a condition selected and the verb applies to."""
    if not runs:
        return ()
    answers = foreseen(new_request(asking(runs), "cli", options.if_state), seen).answers
    return tuple(answer.run for answer in answers if answer.outcome != "refused")
