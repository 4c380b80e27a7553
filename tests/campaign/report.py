"""docs/reliability-report.md, written from what trials left behind."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.campaign import kept
from tests.campaign.arena import ROOT
from tests.campaign.campaigns import CAMPAIGNS
from tests.campaign.kept import Tried
from tests.campaign.outcome import Outcome

RESULTS = ROOT / "campaign-results.jsonl"  # one line per trial; delete it to begin anew
REPORT = ROOT / "docs" / "reliability-report.md"
HEAD = """\
# Reliability report

`make campaign` wrote this report from the trials that it ran. [Reliability](reliability.md) describes what
they test. `python -m tests.campaign replay CAMPAIGN SEED` repeats a trial. For kills and chains, the seed
determines which process is killed and when, but not what it is doing at that moment; for the other
campaigns it determines everything.

| campaign | counted | done, of the total | seeds | failed |
|---|---|---|---|---|"""


@dataclass(frozen=True, slots=True)
class Trial:
    """An outcome, what its campaign came to as a whole, and the commit it was of."""

    outcome: Outcome
    whole: int
    commit: str


@dataclass(slots=True)
class Ledger:
    """Every trial that was made, in a file that one process appends to."""

    file: Path = RESULTS
    trials: list[Trial] = field(default_factory=list)
    tests: list[Tried] = field(default_factory=lambda: kept.tried(kept.KEPT))

    def __post_init__(self) -> None:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        for line in map(json.loads, lines):
            self.trials.append(Trial(Outcome(**line["outcome"]), line["whole"], line["commit"]))

    def keep(self, outcome: Outcome, whole: int) -> None:
        """Note what came of a trial."""
        self.trials.append(Trial(outcome, whole, commit()))
        with self.file.open("a") as file:
            file.write(json.dumps(asdict(self.trials[-1])) + "\n")

    def of(self, name: str) -> list[Trial]:
        return [trial for trial in self.trials if trial.outcome.campaign == name]

    def done(self, name: str) -> int:
        """How much of the whole its trials come to."""
        return sum(trial.outcome.done for trial in self.of(name))

    def complete(self, name: str) -> bool:
        """Whether nothing is missing of what the campaign last came to."""
        return bool(self.of(name)) and self.done(name) >= self.of(name)[-1].whole

    def seeds(self, name: str) -> set[int]:
        return {trial.outcome.seed for trial in self.of(name)}

    def failed(self) -> list[Outcome]:
        return [trial.outcome for trial in self.trials if trial.outcome.failures]

    def failed_tests(self) -> list[str]:
        return [each.test for each in self.tests if each.outcome == "failed"]

    def write(self, report: Path = REPORT) -> None:
        """Render the report."""
        report.write_text("\n".join(_lines(self)) + "\n")


def commit() -> str:
    """What is tried: the commit, and whether something differs from it."""
    told = [
        subprocess.run(["git", *asked], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
        for asked in (
            ("rev-parse", "--short", "HEAD"),
            ("status", "--porcelain", "--", "rapidfire_cli", "tests"),
        )
    ]
    return (told[0] or "unknown") + (" with changes" if told[1] else "")


def _lines(ledger: Ledger) -> Iterator[str]:
    yield HEAD
    tried = {name: campaign for name, campaign in CAMPAIGNS.items() if ledger.of(name)}
    for name, campaign in tried.items():
        share = f"{ledger.done(name):,} of {ledger.of(name)[-1].whole:,}"
        failed = sum(outcome.campaign == name for outcome in ledger.failed())
        yield f"| {name} | {campaign.counts} | {share} | {_spans(ledger.seeds(name))} | {failed} |"
    yield ""
    yield from (f"- **{name}**: {campaign.proves}." for name, campaign in tried.items())
    yield from _deaths([trial.outcome for name in ("kills", "chains") for trial in ledger.of(name)])
    yield ""
    if ledger.tests:
        yield from kept.table(ledger.tests)
        yield ""
    commits = ", ".join(dict.fromkeys(each.commit for each in [*ledger.trials, *ledger.tests]))
    python = sys.version.split()[0]
    yield f"Machine: {platform.machine()}, {os.cpu_count()} cores, Linux, Python {python}. Commit: {commits}."
    yield ""
    yield from _failures(ledger.failed(), ledger.failed_tests())


def _deaths(killed: list[Outcome]) -> Iterator[str]:
    controllers, workers, survived = (
        sum(getattr(outcome, what) for outcome in killed) for what in ("controllers", "workers", "survivors")
    )
    slowest = max((outcome.slowest_death for outcome in killed), default=0.0)
    yield f"- **orphans**: kills and chains killed {controllers:,} controllers and {workers:,} workers."
    yield f"  {survived} controllers left a process behind for more than 2 seconds; the longest that one"
    yield f"  outlived its controller was {slowest:.3f} seconds."


def _failures(failed: list[Outcome], tests: list[str]) -> Iterator[str]:
    yield "## Failures"
    yield ""
    if not (failed or tests):
        yield "None."
    yield from (f"- `pytest '{test}'`" for test in tests)
    for outcome in failed:
        told = " ".join(" ".join(outcome.failures).split())[:300]
        yield f"- `python -m tests.campaign replay {outcome.campaign} {outcome.seed}`: {told}"


def _spans(numbers: Iterable[int]) -> str:
    """`0-49, 60`."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
