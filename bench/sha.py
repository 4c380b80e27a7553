"""Successive halving on the digits task, against the same runs trained to the end: `python -m bench.sha`.

Every tool gets the configurations of configs/digits_sha.yaml in the same order, trains them on two processes
and is measured from the start of its command to the end, imports included. The peers' runs are trained by
hand to the same bits as ours, so that only what is stopped, and when, differs. What a tool has found is the
best of those that it trained to the end. One draw says little: `--seeds 1000 1001 …` trains the draws of
those seeds to the end instead, and applies our rule to their curves. configs/digits_sha.yaml was chosen with
the seeds 0 to 7 and 42 in view.
"""

import argparse
import importlib
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from bench.halving import Found, Search
from bench.work import PROCESSES, SEED
from rapidfire_cli.app.files import load
from rapidfire_cli.facts import EpochEnded, Metric
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.stopping.bracket import bracket_state
from rapidfire_cli.stopping.halving import HalvingRule
from rapidfire_cli.syntax.ast import SuccessiveHalving
from rapidfire_cli.terms import VALIDATION

NEAR = 0.5  # points of accuracy
ROOT = Path(__file__).parents[1]
FILE = ROOT / "configs" / "digits_sha.yaml"
TRUTH = "rapidfire, all to the end"
CONTENDERS = {  # name: module, function, library it needs
    TRUTH: ("halving_rapidfire", "uncut", "rapidfire_cli"),
    "rapidfire sha": ("halving_rapidfire", "contend", "rapidfire_cli"),
    "rapidfire sha, mode: async": ("halving_rapidfire", "asynchronous", "rapidfire_cli"),
    "Optuna SuccessiveHalvingPruner": ("halving_optuna", "contend", "optuna"),
    "Ray Tune ASHAScheduler": ("halving_ray", "contend", "ray"),
}


def search(seed: int = SEED) -> Search:
    """The file's search with the draws of this seed."""
    file = load(FILE, [f"seed={seed}"])
    sha = file.groups[0].generator
    assert isinstance(sha, SuccessiveHalving)
    leaves = [run.leaf for run in expand(file)]
    return Search(leaves, sha.min_epochs, sha.max_epochs, sha.reduction_factor, str(FILE))


def measured(work: Search) -> Iterator[tuple[str, Found, float]]:
    """Each installed contender: what it found, and the seconds of its whole command."""
    for name, (_, _, library) in CONTENDERS.items():
        if importlib.util.find_spec(library):
            start = time.perf_counter()
            command = [sys.executable, "-m", "bench.sha", "--one", name]
            given = json.dumps(asdict(work))
            done = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - start
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
            yield name, Found(**json.loads(done.stdout.splitlines()[-1])), seconds


def tell(work: Search) -> None:
    """A line per contender: what it found, how good that is when trained to the end, and what it cost."""
    uncut = len(work.leaves) * work.max_epochs
    print(f"{len(work.leaves)} configurations of the digits MLP, {work.max_epochs} epochs at most")
    print(f"{'':32}  found  accuracy  points behind  run-epochs         seconds")
    truth: Sequence[float] = ()
    for name, found, seconds in measured(work):
        truth = truth or found.accuracies
        index, epochs = found.chosen(work.max_epochs), sum(found.epochs)
        print(
            f"{name:32}  {index + 1:5}  {truth[index]:8.4f}  {100 * (max(truth) - truth[index]):13.2f}"
            f"  {epochs:5} ({epochs / uncut:4.0%})  {seconds:12.1f}",
            flush=True,
        )


def tell_seeds(seeds: Sequence[int]) -> None:
    """How far behind our rule ends on the draws of these seeds, and what it costs."""
    works = [*map(search, seeds)]
    with get_context("fork").Pool(PROCESSES) as pool:
        found = pool.map(outcome, works, chunksize=1)
    behind = sorted(points for points, _ in found)
    near, cost = sum(points <= NEAR for points in behind), max(share for _, share in found)
    print(f"{len(seeds)} draws, at most {cost:.0%} of the run-epochs: within {NEAR} points in {near};")
    print(f"points behind: median {median(behind):.2f}, worst {behind[-1]:.2f}, each:")
    print("  " + "  ".join(f"{points:.2f}" for points in behind))


def outcome(work: Search) -> tuple[float, float]:
    """The points by which the rule's choice is behind the best of all, and the share of their run-epochs."""
    import torch

    from bench.peers.by_hand import epochs, sliced

    torch.set_num_threads(1)
    curves = [[figures[-1] for figures in epochs(leaf, sliced)] for leaf in work.leaves]
    runs = dict.fromkeys(range(len(curves)), work.max_epochs)
    rule = HalvingRule("top1_accuracy", "max", work.min_epochs, work.max_epochs, work.reduction_factor)
    every = (
        EpochEnded(run, epoch, epoch, (Metric(VALIDATION, rule.metric, value),), 0.0)
        for run, curve in enumerate(curves)
        for epoch, value in enumerate(curve, 1)
    )
    found = bracket_state(rule, 1, runs, every)
    reached = [(curves[run][-1], -run) for run in runs if run not in found.pruned]
    behind = 100 * (max(curve[-1] for curve in curves) - max(reached)[0])
    return behind, sum(found.limits.values()) / sum(runs.values())


def main() -> None:
    """Measure and print; with `--one`, be a contender: the search on stdin, what it found on stdout."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", help="only our rule, on the draws of these seeds")
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        module, function, _ = CONTENDERS[options.one]
        contend = getattr(importlib.import_module(f"bench.peers.{module}"), function)
        print(json.dumps(asdict(contend(Search(**json.load(sys.stdin))))))
        return
    if options.seeds:
        tell_seeds(options.seeds)
    else:
        tell(search())


if __name__ == "__main__":
    main()
