"""How long a shell waits for what it completes: `python -m bench.completion [--times N]`.

Each case is a new process, as at every Tab. The medians include Python's own start, which is shown beside.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.metadata import Metadata
from rapidfire_cli.terms import Objective, Run, canonical

RUNS = 1000
FILE = Path(__file__).parent.parent / "configs" / "digits_mixed.yaml"
PROGRAM = [str(Path(sys.executable).parent / "rapidfire"), "__complete", "fish"]
CASES = {
    "Python alone": [sys.executable, "-c", "pass"],
    "verbs": [*PROGRAM, ""],
    "options": [*PROGRAM, "stop", "--"],
    "experiments": [*PROGRAM, "stop", "-e", ""],
    f"numbers of {RUNS} runs": [*PROGRAM, "stop", ""],
    f"knobs of {RUNS} runs": [*PROGRAM, "stop", "--where", ""],
    f"knobs of {FILE.name}": [*PROGRAM, "fit", str(FILE), "--set", ""],
}


def recorded(parent: Path) -> None:
    """Record an experiment of runs with eight knobs each."""
    train = {"epochs": 5, "batch_size": 32, "optimizer": {"name": "Adam", "args": {"lr": 0.1}}}
    leaves = [{"user_knobs": {"a": run, "b": 1, "c": 2, "d": 3}, "train": train} for run in range(RUNS)]
    runs = [Run(at, f"{at:016x}", 1, canonical(leaf), seed=1) for at, leaf in enumerate(leaves, 1)]
    journal = SqliteJournal(parent / "sweep" / "journal.db")
    journal.enroll(Metadata("sweep", Objective("loss", "min"), ()), runs, [5] * RUNS)
    journal.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=21, help="processes per case (default 21)")
    times = parser.parse_args().times
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        recorded(Path(folder))
        environment["RAPIDFIRE_DIR"] = folder
        taken: dict[str, list[float]] = {name: [] for name in CASES}
        for _ in range(times + 1):  # the first round compiles
            for name, command in CASES.items():
                start = time.perf_counter()
                subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
                taken[name].append(time.perf_counter() - start)
    print("| what is completed | median | fastest |\n|---|---|---|")
    for name, seconds in taken.items():
        print(f"| {name} | {statistics.median(seconds[1:]) * 1e3:.0f} ms | {min(seconds) * 1e3:.0f} ms |")


if __name__ == "__main__":
    main()
