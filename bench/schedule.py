"""What the scheduler costs: `python -m bench.schedule`.

First the scheduler alone, under a simulated driver: the CPU time that it takes to hand out the turns of one
epoch. Then the whole controller of `rapidfire fit` (scheduler, pipes, journal, progress) with real workers
whose runs do nothing: the CPU time of its process for a long fit, less that for a short one, by epoch.
At last what a turn costs the scheduler, decisions included, from 10^2 runs on one slot to 10^5 on 1,000.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rapidfire_cli.schedule.events import NewRun, RunsAdded
from rapidfire_cli.schedule.simulate import Simulation, Timeline
from rapidfire_cli.stopping.bracket import bracket_state
from rapidfire_cli.stopping.halving import HalvingRule

ROOT = Path(__file__).parents[1]
SHORT, LONG = 2, 12  # epochs


@dataclass(frozen=True, slots=True)
class Case:
    """So many runs on so many slots, an epoch cut in so many turns."""

    runs: int
    slots: int
    chunks: int

    def __str__(self) -> str:
        return f"{self.runs} runs × {self.slots} slots × {self.chunks} chunks"


RUNS_PER_SLOT = 100
SIZES = (10**2, 10**3, 10**4, 10**5)  # runs
RULES: dict[str, HalvingRule | None] = {
    "free": None,
    "halving": HalvingRule("loss", "min", 1, 27, 3),
    "without waiting": HalvingRule("loss", "min", 1, 27, 3, "async"),
}

CASES = (Case(16, 4, 8), Case(128, 8, 16))


def scheduler(case: Case) -> float:
    """CPU seconds per epoch of the scheduler and its simulated driver."""
    simulation = Simulation(case.slots, lambda _run, ticks: float(ticks), lambda *_: None, case.chunks)
    entries = tuple(NewRun(run, LONG * case.chunks) for run in range(1, case.runs + 1))
    start = time.process_time()
    simulation.run([RunsAdded(entries)])
    return (time.process_time() - start) / LONG


def controller(case: Case) -> float:
    """CPU seconds per epoch of the controller's process."""
    return (_fitted(case, LONG) - _fitted(case, SHORT)) / (LONG - SHORT)


def _fitted(case: Case, epochs: int) -> float:
    """CPU seconds of a controller, in a process of its own, that trains so many epochs."""
    command = [sys.executable, "-m", "bench.schedule", "--fit", str(epochs)]
    sizes = [str(case.runs), str(case.slots), str(case.chunks)]
    done = subprocess.run([*command, *sizes], cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def fit(case: Case, epochs: int) -> float:
    """CPU seconds of this process, while it is the controller; its workers' do not count."""
    from rapidfire_cli.app.devices import DeviceRequest
    from rapidfire_cli.app.experiments import load_experiment
    from rapidfire_cli.app.files import Given
    from rapidfire_cli.app.verbs.fit import Request, train
    from rapidfire_cli.engine.signals import StopSignal
    from rapidfire_cli.view.audience import watching

    file = {
        "mlspec": "bench.nothing:NothingSpec",
        "data": {"rows": case.chunks},
        "execution": {"chunks": case.chunks},
        "gridsearch": {
            "user_knobs": {"number": {"!list": [*range(case.runs)]}},
            "train": {"epochs": epochs, "batch_size": 1, "optimizer": {"name": "SGD"}},
        },
    }
    with TemporaryDirectory() as folder:
        path = Path(folder, "nothing.json")
        path.write_text(json.dumps(file), encoding="utf-8")
        loaded = load_experiment(Given(path), folder)
        request = Request(DeviceRequest(case.slots, threads=1, gpus=0))
        start = time.process_time()
        train(loaded, request, StopSignal(), lambda seen: watching(seen, None, sys.stderr, os.environ))
        return time.process_time() - start


def simulated(runs: int, rule: HalvingRule | None) -> tuple[float, Timeline]:
    """CPU seconds for, and what comes of, so many runs: one bracket by the rule, or three epochs each."""
    simulation = Simulation(
        runs // RUNS_PER_SLOT, lambda run, ticks: ticks * (1 + run % 7 / 7), lambda run, _: run * 7919 % runs
    )
    start = time.process_time()
    if rule is None:
        added = RunsAdded(tuple(NewRun(run, 3) for run in range(1, runs + 1)))
    else:
        begun = bracket_state(rule, 1, dict.fromkeys(range(1, runs + 1), rule.max_epochs), ())
        entries = (NewRun(run, rule.max_epochs, limit=limit) for run, limit in begun.limits.items())
        added = RunsAdded(tuple(entries), begun.policy, 1)
    timeline = simulation.run([added])
    return time.process_time() - start, timeline


def tell_growth() -> None:
    """A line per number of runs."""
    print(f"{'CPU per turn':>12}" + "".join(f"{name:>22}" for name in RULES), flush=True)
    for runs in SIZES:
        print(f"{runs:>7,} runs", end="")
        for rule in RULES.values():
            seconds, timeline = simulated(runs, rule)
            print(f"{1e6 * seconds / timeline.turns:>10.0f} µs{seconds:>7.1f} s", end="", flush=True)
        print()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fit", nargs=4, type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args().fit
    if asked:
        epochs, *sizes = asked
        print(fit(Case(*sizes), epochs))
        return
    for case in CASES:
        alone, whole = 1000 * scheduler(case), 1000 * controller(case)
        print(
            f"{case}: scheduler {alone:.1f} ms, whole controller {whole:.1f} ms of CPU per epoch", flush=True
        )
    tell_growth()


if __name__ == "__main__":
    main()
