"""The same sweep by rapidfire, by hand and by other tools, in one run: `python -m bench.sweep`.

32 runs of the digits MLP, 5 epochs each, on two processes where a contender has them; then runs that do
nothing. Every contender works in a process of its own; what is compared are the seconds from the first run's
start to the last one's end, so imports and start-up count for nobody. Machines are noisy: read the ratios.
"""

import argparse
import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.work import DIGITS, Outcome, Work, nothing

ROOT = Path(__file__).parents[1]
OURS = "rapidfire"
CONTENDERS = {  # name: module, function, library it needs
    OURS: ("rapidfire", "contend", "rapidfire_cli"),
    "two processes, sliced tensors": ("pool", "slicing", "torch"),
    "two processes, DataLoader": ("pool", "loading", "torch"),
    "Optuna, one process": ("optuna_grid", "contend", "optuna"),
    "Ray Tune, actors reused": ("ray_tune", "reusing", "ray"),
    "Ray Tune": ("ray_tune", "contend", "ray"),
}
SHORT = {"train.optimizer.args.lr": [1e-3, 1e-2]}  # half of the grid, for a quick look


@dataclass(frozen=True, slots=True)
class Trial:
    """A contender at work, and how often it is measured."""

    name: str
    work: Work
    rounds: int


def sweeps(quick: bool) -> Iterator[Trial]:
    """Who trains the digits; the slow ones once, on fewer runs where that says enough."""
    work = DIGITS.cut(SHORT) if quick else DIGITS
    for name in list(CONTENDERS)[:3]:
        yield Trial(name, work, 5)
    yield Trial("Optuna, one process", work, 1)
    if not quick:
        yield Trial("Ray Tune, actors reused", work, 1)
        yield Trial("Ray Tune", work, 1)


def overheads(quick: bool) -> Iterator[Trial]:
    """Who does nothing, and for how many runs."""
    yield Trial(OURS, nothing(50 if quick else 200), 3)
    yield Trial("Optuna, one process", nothing(200), 1)
    if not quick:
        yield Trial("Ray Tune, actors reused", nothing(20), 1)
        yield Trial("Ray Tune", nothing(10), 1)


def measured(trials: Sequence[Trial]) -> dict[str, list[Outcome]]:
    """Every trial's outcomes, the rounds interleaved so that all meet the same noise."""
    found: dict[str, list[Outcome]] = {}
    for turn in range(max(trial.rounds for trial in trials)):
        for trial in trials:
            _, _, library = CONTENDERS[trial.name]
            if turn < trial.rounds and importlib.util.find_spec(library):
                found.setdefault(trial.name, []).append(_apart(trial))
    return found


def _apart(trial: Trial) -> Outcome:
    """The outcome of a trial in a process of its own."""
    command = [sys.executable, "-m", "bench.sweep", "--one", trial.name]
    work = json.dumps(asdict(trial.work))
    done = subprocess.run(command, cwd=ROOT, input=work, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{trial.name} failed:\n{done.stderr[-2000:]}")
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def seconds(outcomes: Sequence[Outcome]) -> float:
    """The median."""
    return median(outcome.seconds for outcome in outcomes)


def least(outcomes: Sequence[Outcome]) -> float:
    """The round that was disturbed least."""
    return min(outcome.seconds for outcome in outcomes)


def tell_sweep(found: dict[str, list[Outcome]], runs: int) -> None:
    """Seconds, and how ours compare; whether the losses are the same bits as those of the loop by hand."""
    print(f"\n{runs} runs of the digits MLP, 5 epochs: seconds of training, median (least), ours / theirs")
    for name, outcomes in found.items():
        figures = f"{seconds(outcomes):8.2f} s ({least(outcomes):.2f} s)"
        ratios = [each(found[OURS]) / each(outcomes) for each in (seconds, least)]
        print(f"  {name:32} {figures}   {ratios[0]:6.3f} ({ratios[1]:.3f})   rounds: {len(outcomes)}")
    by_hand = found["two processes, sliced tensors"][0].figures
    same = all(found[OURS][0].figures.get(leaf) == figures for leaf, figures in by_hand.items())
    print(f"  every epoch's figures, ours and by hand: {'the same bits' if same else 'DIFFERENT'}")


def tell_overhead(found: dict[str, list[Outcome]], trials: Sequence[Trial]) -> None:
    """Milliseconds per run that does nothing."""
    print("\nRuns that do nothing: milliseconds each")
    for trial in trials:
        if trial.name in found:
            each = 1000 * seconds(found[trial.name]) / trial.work.runs
            print(f"  {trial.name:32} {each:9.2f} ms   ({trial.work.runs} runs)")


def main() -> None:
    """Measure and print; with `--one`, be a contender: the work on stdin, its outcome on stdout."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="half of the grid, without Ray Tune")
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        module, function, _ = CONTENDERS[options.one]
        contend = getattr(importlib.import_module(f"bench.peers.{module}"), function)
        print(json.dumps(asdict(contend(Work(**json.load(sys.stdin))))))
        return
    trials = list(sweeps(options.quick))
    tell_sweep(measured(trials), trials[0].work.runs)
    trials = list(overheads(options.quick))
    tell_overhead(measured(trials), trials)


if __name__ == "__main__":
    main()
