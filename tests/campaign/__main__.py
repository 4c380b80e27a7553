"""`python -m tests.campaign`: the campaigns against whole processes; goes on where it was left."""

import argparse
import time
from collections.abc import Callable

from tests.campaign.kills import Outcome, chain, reference, storm
from tests.campaign.report import GOALS, done, keep, kept, write
from tests.campaign.starts import crowd

PER_STORM, PER_CROWD = 20, 50


def main() -> int:
    """Run what is missing, or one trial again; 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", help="`replay CAMPAIGN SEED`; by default all campaigns")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no trial after so long")
    asked = parser.parse_args()
    if asked.what[:1] == ["replay"]:
        outcome = trials()[asked.what[1]](int(asked.what[2]))
        print(outcome)
        return bool(outcome.failures)
    campaign(time.monotonic() + asked.seconds, asked.what)
    return any(trial["failures"] for trial in kept())


def trials() -> dict[str, Callable[[int], Outcome]]:
    """A trial of each campaign, by its seed."""
    known = reference()
    return {
        "starts": lambda seed: crowd(seed, PER_CROWD),
        "kills": lambda seed: storm(seed, known, PER_STORM),
        "chains": lambda seed: chain(seed, known),
    }


def campaign(deadline: float, names: list[str]) -> None:
    """Trials in turn, one of each campaign, until each has done its share or time is up."""
    chosen = {name: trial for name, trial in trials().items() if name in names or not names}
    while chosen and time.monotonic() < deadline:
        for name in [*chosen]:
            seeds = [int(str(trial["seed"])) for trial in kept() if trial["campaign"] == name]
            if done(name, kept()) >= GOALS[name]:
                del chosen[name]
            elif time.monotonic() < deadline:
                outcome = chosen[name](max(seeds, default=-1) + 1)
                keep(outcome)
                print(outcome, flush=True)
                write()


if __name__ == "__main__":
    raise SystemExit(main())
