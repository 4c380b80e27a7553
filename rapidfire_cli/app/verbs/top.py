"""`top`: the experiment in a full-screen terminal app."""

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec

from rapidfire_cli.app.control.asking import new_request, send
from rapidfire_cli.app.control.clone_check import check_clones
from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.verbs.show import page_of
from rapidfire_cli.app.verbs.why import account_of
from rapidfire_cli.durable.lock import Held
from rapidfire_cli.problems import Refusal, brief, render
from rapidfire_cli.requests import Ask, CloneRun
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.view.run_page import run_page
from rapidfire_cli.view.top.desk import Desk, Part, Sent
from rapidfire_cli.view.why import why

NEEDED = ("textual", "textual_plot")


def top(experiment: str | None, parent: str | None, read_only: bool) -> int:
    """Show the experiment until the user quits; return the exit code.

    Raises Refusal if there is no experiment, and Unavailable without the extra or a terminal.
    """
    if not all(map(find_spec, NEEDED)):
        raise Unavailable("`rapidfire top` needs textual: pip install 'rapidfire-cli[top]'")
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        raise Unavailable("`rapidfire top` needs a terminal; `rapidfire status --watch` does not")
    home = open_overview(experiment, parent).home

    from rapidfire_cli.view.top.app import Top
    from rapidfire_cli.view.top.following import Following

    Top(Following(home), desk(home, read_only)).run()
    return 0


def desk(home: ExperimentDir, read_only: bool = False) -> Desk:
    """The functions by which the app reads about runs and sends requests."""

    def sentences(seen: Overview, run: int) -> Sequence[str]:
        return why(account_of(seen, run))

    def page(seen: Overview, run: int) -> Iterable[Part]:
        return run_page(page_of(seen, next(row for row in seen.rows if row.number == run)))

    def problems(ask: CloneRun) -> str:
        try:
            check_clones(home, ask)
        except Refusal as refusal:
            return "\n\n".join(map(render, refusal.problems))
        except (OSError, ValueError, Unavailable) as error:
            return str(error)
        return ""

    def sent(ask: Ask) -> Sent:
        if not home.journal.is_file():  # asking would create one
            return Sent((), trouble=f"{home.journal} is missing")
        try:
            reply = send(home, new_request(ask, "top"))
        except Held as held:
            return Sent((), trouble=f"the experiment is in use by another process ({held})")
        except Refusal as refusal:
            return Sent((), trouble="; ".join(map(brief, refusal.problems)))
        except (OSError, ValueError) as error:
            return Sent((), trouble=f"the request was not sent: {error}")
        return Sent(reply.answers, reply.live)

    options = f"-e {shlex.quote(str(home.path))}"
    return Desk(sentences, page, problems, None if read_only else sent, options)
