"""`report`: the web page of an experiment as one HTML file that opens without a server."""

import sys
from pathlib import Path

from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.overview import located
from rapidfire_cli.app.page import contents
from rapidfire_cli.durable import publication
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.view.page.bundle import NOT_BUILT, bundle
from rapidfire_cli.view.report.page import report_page
from rapidfire_cli.view.wording import counted, size_text


def report(experiment: str | None, parent: str | None, file: Path) -> int:
    """Write the report. Raises Refusal, Unavailable where the page is not built, and OSError."""
    if file.is_dir():
        hint = "name a file, such as `-o report.html`"
        raise Refusal([Problem("E502", f"{file} is a directory", hint=hint)])
    page = bundle()
    if page is None:
        raise Unavailable(NOT_BUILT)
    home, _ = located(experiment, parent)
    found, runs = contents(home)
    text = report_page(found, page)
    publication.write(file, text)
    print(f"wrote {file}: {counted(runs, 'run')}, {size_text(len(text.encode()))}", file=sys.stderr)
    return 0
