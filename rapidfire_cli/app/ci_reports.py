"""Reports that CI systems show: a JUnit file, and a summary on the page of a GitHub workflow run."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rapidfire_cli.app.ci import Gate
from rapidfire_cli.durable import disk, publication
from rapidfire_cli.store.pace import trained_seconds
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.view.junit import Judged, junit
from rapidfire_cli.view.step_summary import MOST, step_summary

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The environment variable with the file that GitHub shows."""


def write_reports(
    seen: Overview, gates: Sequence[Gate], report: Path | None, environ: Mapping[str, str]
) -> None:
    """Write the report, if one was asked for, and GitHub's summary where there is one. Raises OSError."""
    judged = [Judged(gate.required.text, gate.met, gate.text) for gate in gates]
    if report:
        publication.write(report, junit(seen, judged, trained_seconds(seen.home.journal)))
    if summary := environ.get(SUMMARY):
        _add(Path(summary), seen, judged)


def _add(summary: Path, seen: Overview, judged: Sequence[Judged]) -> None:
    """Add to what earlier commands of the step wrote; an error is a warning."""
    try:
        written = summary.stat().st_size if summary.exists() else 0
        disk.add(summary, step_summary(seen, judged, MOST - written).encode())
    except OSError as error:
        print(f"warning: cannot write {SUMMARY}: {error}", file=sys.stderr)
