"""`python -m tests.campaign`: every campaign, or those named, from where it was left; writes the report.

`python -m tests.campaign replay CAMPAIGN SEED` repeats one trial; `python -m tests.campaign report` only
writes the report.
"""

import argparse
import os
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import count
from multiprocessing import get_context

from tests.campaign.campaigns import CAMPAIGNS, plan
from tests.campaign.outcome import Outcome
from tests.campaign.report import Ledger

JOBS = 3 * (os.cpu_count() or 1)  # a kill takes 1.3 s of a processor and 4 s of waiting (measured)


def main() -> int:
    """Run what is missing, or one trial again; 1 when anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("what", nargs="*", help=f"of {', '.join(CAMPAIGNS)}; by default all")
    parser.add_argument("--jobs", type=int, default=JOBS, help="trials at once (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no trial after so long")
    asked = parser.parse_args()
    if asked.what[:1] == ["replay"]:
        outcome = attempt(asked.what[1], int(asked.what[2]))
        print(outcome)
        return bool(outcome.failures)
    ledger, deadline = Ledger(), time.monotonic() + asked.seconds
    try:
        for name in [] if asked.what == ["report"] else asked.what or CAMPAIGNS:
            if not ledger.complete(name):
                run(name, 1 if CAMPAIGNS[name].alone else asked.jobs, deadline, ledger)
    except KeyboardInterrupt:
        return 130
    finally:
        ledger.write()
    return bool(ledger.failed() or ledger.failed_tests())


def run(name: str, jobs: int, deadline: float, ledger: Ledger) -> None:
    """Trials of a campaign, so many at once, until the whole is done or time is up."""
    if not _early(deadline):
        return
    prepared, known = plan(name), ledger.seeds(name)
    seeds = (seed for seed in count() if seed not in known)
    under_way: set[Future[Outcome]] = set()
    with ProcessPoolExecutor(jobs, get_context("fork")) as crew:  # forked, and so prepared
        while True:
            wanted = prepared.whole - ledger.done(name)
            while len(under_way) < jobs and len(under_way) * prepared.each < wanted and _early(deadline):
                under_way.add(crew.submit(attempt, name, next(seeds)))
            if not under_way:
                return
            ended, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for one in ended:
                ledger.keep(one.result(), prepared.whole)
                print(one.result(), flush=True)


def _early(deadline: float) -> bool:
    return time.monotonic() < deadline


def attempt(name: str, seed: int) -> Outcome:
    """One trial."""
    return plan(name).trial(seed)


if __name__ == "__main__":
    raise SystemExit(main())
