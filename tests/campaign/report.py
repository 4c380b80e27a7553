"""docs/reliability-report.md, written from what trials left behind."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from tests.campaign.arena import ROOT
from tests.campaign.kills import CHAIN, Outcome

RESULTS = ROOT / "campaign-results.jsonl"  # one line per trial; delete it to begin anew
REPORT = ROOT / "docs" / "reliability-report.md"
GOALS = {"kills": 1000, "chains": 200, "starts": 100}
"""What a whole campaign comes to: controllers and workers killed, chains of full length, crowds."""

SAYS = {
    "kills": "SIGKILL of controllers and workers at random moments, successive halving among the runs; then "
    "every final weight, every epoch-end value and every run's state compared with an undisturbed sweep",
    "chains": f"a controller killed after it had trained, then {CHAIN} that recovered, one after the other; "
    "a chain whose sweep was over before is not counted, but compared",
    "starts": "simultaneous starts of one experiment: one trains, the others exit with code 4",
}


def keep(outcome: Outcome) -> None:
    """Note what came of a trial."""
    with RESULTS.open("a") as results:
        results.write(json.dumps({**asdict(outcome), "commit": commit()}) + "\n")


def kept() -> list[dict[str, object]]:
    """Every trial noted, in order."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def done(name: str, trials: list[dict[str, object]]) -> int:
    """How much of the campaign's goal these trials come to."""
    chosen = [trial for trial in trials if trial["campaign"] == name]
    match name:
        case "kills":
            return _total(chosen, "controllers") + _total(chosen, "workers")
        case "chains":
            return _total(chosen, "chains")
    return len(chosen)


def commit() -> str:
    """What the trial was of."""
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"


def write() -> None:
    """Render the report."""
    REPORT.write_text("\n".join(_lines(kept())) + "\n")


def _lines(trials: list[dict[str, object]]) -> Iterator[str]:
    yield "# Reliability report"
    yield ""
    yield "Written by `python -m tests.campaign` from the trials that were run; docs/reliability.md says"
    yield "what is promised. A trial's seed says who is killed and when; what the victim was doing is up to"
    yield "the machine."
    yield ""
    yield "| campaign | done, of the whole | trials | seeds | controllers killed | workers killed | failed |"
    yield "|---|---|---|---|---|---|---|"
    for name in SAYS:
        if chosen := [trial for trial in trials if trial["campaign"] == name]:
            failed = sum(bool(trial["failures"]) for trial in chosen)
            kills = _total(chosen, "controllers"), _total(chosen, "workers")
            share = f"{done(name, trials):,} of {GOALS[name]:,}"
            cells = (
                name,
                share,
                len(chosen),
                _spans(int(str(trial["seed"])) for trial in chosen),
                *kills,
                failed,
            )
            yield f"| {' | '.join(map(str, cells))} |"
    yield ""
    yield from (f"- **{name}**: {says}." for name, says in SAYS.items())
    killed = [trial for trial in trials if trial["campaign"] in ("kills", "chains")]
    deaths, survived = _total(killed, "controllers"), _total(killed, "survivors")
    slowest = max((float(str(trial["slowest_death"])) for trial in killed), default=0.0)
    yield f"- **deaths**: {deaths} controllers killed, {survived} of them outlived by anything for 2 seconds;"
    yield f"  the slowest was followed by its last process after {slowest:.3f} seconds."
    yield ""
    yield f"Machine: {platform.machine()}, {os.cpu_count()} cores, Linux, Python {sys.version.split()[0]}."
    yield ""
    yield from _failures([trial for trial in trials if trial["failures"]])


def _failures(failed: list[dict[str, object]]) -> Iterator[str]:
    yield "## Failures"
    yield ""
    if not failed:
        yield "None."
    for trial in failed:
        told = " ".join(str(trial["failures"]).split())[:300]
        yield f"- `python -m tests.campaign replay {trial['campaign']} {trial['seed']}`: {told}"


def _total(trials: Iterable[dict[str, object]], what: str) -> int:
    return sum(int(str(trial[what])) for trial in trials)


def _spans(numbers: Iterable[int]) -> str:
    """`0-49, 60`."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
