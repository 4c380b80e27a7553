"""How fast a grid becomes runs, and how fast the command line starts: `python -m bench.expand [--quick]`.

Streaming: each tool expands the same nested grid in a process of its own and writes a JSON line per run, and
the lines are counted. Seconds and peak memory are those of the whole process, start and imports included. Our
lines hold number, id, group, config and seed; the peers' hold number and config. A peer that is not installed
is left out.

Hard cases: a grid of 10^12 runs counted, previewed and refused by `fit`; 10^5 distinct draws; a file of some
250 KiB.

Start-up: medians over alternating starts, next to a Typer program of one command with one option that does
nothing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

AXES: dict[str, list[Any]] = {
    "user_knobs.width": [32, 64, 96, 128, 160, 192, 224, 256, 288, 320],
    "user_knobs.activation": [
        "relu",
        "gelu",
        "silu",
        "elu",
        "tanh",
        "mish",
        "selu",
        "celu",
        "hardswish",
        "softplus",
    ],
    "train.batch_size": [8, 16, 24, 32, 48, 64, 96, 128, 192, 256],
    "train.optimizer.args.lr": [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2],
    "train.optimizer.args.weight_decay": [0.0, 1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4],
    "train.optimizer.args.eps": [1e-9, 2e-9, 5e-9, 1e-8, 2e-8, 5e-8, 1e-7, 2e-7, 5e-7, 1e-6],
}
"""Ten values each, so that the last k of them vary in a grid of 10^k runs."""

CONSTANTS = {"train.epochs": 3, "train.optimizer.name": "Adam", "named_metrics": ["top1_accuracy"]}

NOTHING = """
import typer
app = typer.Typer()
@app.command()
def main(verbose: bool = False) -> None:
    pass
app()
"""
ROOT = Path(__file__).parents[1]
MIXED = ROOT / "configs" / "digits_mixed.yaml"  # 11 runs
RAPIDFIRE = str(Path(sys.executable).parent / "rapidfire")


@dataclass(frozen=True, slots=True)
class Streamed:
    """One expansion as its reader saw it."""

    tool: str
    rows: int
    seconds: float
    peak: int  # bytes


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Dotted paths as nested mappings."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, knob = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[knob] = value
    return tree


def grid(rows: int, values: Callable[[list[Any]], Any]) -> dict[str, Any]:
    """The flat config of a grid of `rows` runs, each value set made by `values`, the other knobs constant."""
    free = len(str(rows)) - 1
    fixed = {path: choices[0] for path, choices in islice(AXES.items(), len(AXES) - free)}
    varied = {path: values(choices) for path, choices in islice(AXES.items(), len(AXES) - free, None)}
    return {**CONSTANTS, **fixed, **varied}


def scikit_learn(rows: int) -> Iterator[dict[str, Any]]:
    """ParameterGrid over dotted paths, nested afterwards."""
    from sklearn.model_selection import ParameterGrid

    axes = {
        path: value if path in AXES and isinstance(value, list) else [value]
        for path, value in grid(rows, list).items()
    }
    return map(nested, ParameterGrid(axes))


def ray_tune(rows: int) -> Iterator[dict[str, Any]]:
    """Ray Tune's variant generation on a nested search space."""
    from ray import tune
    from ray.tune.search.variant_generator import generate_variants

    return (config for _, config in generate_variants(nested(grid(rows, tune.grid_search))))


def hydra(rows: int) -> Iterator[dict[str, Any]]:
    """The basic sweeper's overrides, nested; Hydra would compose a config from each, which is not counted."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    axes = grid(rows, lambda values: ",".join(map(str, values)))
    said = OverridesParser.create().parse_overrides([f"{path}={value}" for path, value in axes.items()])
    (every,) = BasicSweeper.split_arguments(said, None)
    return (nested(dict(override.split("=", 1) for override in one)) for one in every)


PEERS: dict[str, tuple[str, int, Callable[[int], Iterator[dict[str, Any]]]]] = {
    "scikit-learn": ("sklearn", 10**6, scikit_learn),
    "Ray Tune": ("ray", 10**6, ray_tune),
    "Hydra": ("hydra", 10**4, hydra),
}
"""By name: the package that must be installed, up to how many runs it is asked, and the nested configs."""


def stream(tool: str, command: Sequence[str]) -> Streamed:
    """Run the command, count the lines it prints, and ask the kernel what it took."""
    start, rows = time.perf_counter(), 0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while block := process.stdout.read1(2**20):
            rows += block.count(b"\n")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{tool} failed")
    return Streamed(tool, rows, time.perf_counter() - start, usage.ru_maxrss * 1024)


def streams(rows: int, folder: Path) -> Iterator[Streamed]:
    """Every installed tool on a grid of `rows` runs."""
    file = folder / f"grid{rows}.yaml"
    tree = nested(grid(rows, lambda values: {"!list": values}))
    file.write_text(json.dumps({"gridsearch": tree}, indent=1), encoding="utf-8")
    yield stream("rapidfire", [RAPIDFIRE, "expand", str(file), "--output", "jsonl"])
    for name, (package, most, _) in PEERS.items():
        if find_spec(package) and rows <= most:
            yield stream(name, [sys.executable, "-m", "bench.expand", "--peer", name, "--rows", str(rows)])


def hard_cases(folder: Path) -> Iterator[tuple[str, float]]:
    """What each takes, start included."""
    head = "mlspec: specs.digits:DigitsSpec\n"
    train = "train: {epochs: 1, batch_size: 8, optimizer: {name: Adam, args: {lr: 0.1}}}"
    drawn = "!range [0.0, 1.0]"
    knobs = ", ".join(f"k{place}: !list {list(range(10))}" for place in range(12))
    files = {
        "large": f"{head}gridsearch:\n  user_knobs: {{{knobs}}}\n  {train}\n",
        "drawn": f"{head}randomsearch:\n  num_runs: 100000\n  user_knobs: {{a: {drawn}}}\n  {train}\n",
        "long": f"{head}gridsearch:\n  user_knobs: {{a: !list {list(range(38_500))}}}\n  {train}\n",
    }
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    size = (folder / "long.yaml").stat().st_size
    for told, code, words in [
        ("10^12 runs counted", 0, ["expand", "large.yaml", "--count"]),
        ("10^12 runs, five shown", 0, ["expand", "large.yaml", "--limit", "5"]),
        ("10^12 runs refused by fit", 2, ["fit", "large.yaml"]),
        ("10^5 distinct draws as JSON lines", 0, ["expand", "drawn.yaml", "-o", "jsonl"]),
        (f"a file of {size / 1024:.0f} KiB counted", 0, ["expand", "long.yaml", "--count"]),
    ]:
        start = time.perf_counter()
        done = subprocess.run([RAPIDFIRE, *words], cwd=folder, capture_output=True, check=False)
        if done.returncode != code:
            raise SystemExit(f"{told}: {done.stderr.decode()}")
        yield told, time.perf_counter() - start


def starts(times: int, folder: Path) -> dict[str, float]:
    """Median seconds from start to exit of each command, started in turn; the first round compiles."""
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    nothing = folder / "nothing.py"
    nothing.write_text(NOTHING, encoding="utf-8")
    commands = {
        "a Typer program that does nothing": [sys.executable, str(nothing)],
        "rapidfire --help": [RAPIDFIRE, "--help"],
        f"rapidfire expand {MIXED.name}": [RAPIDFIRE, "expand", str(MIXED)],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(times + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, env=compiled, capture_output=True)
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, columns aligned."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [heads, ["-" * width for width in widths], *rows]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in lines
    )


def show_streams(sizes: Sequence[int], folder: Path) -> None:
    """Measure and print each size as it comes."""
    rows = []
    for size in sizes:
        ours, *theirs = streams(size, folder)
        for each in (ours, *theirs):
            pace, share = each.rows / each.seconds, each.seconds / ours.seconds
            peak = f"{each.peak / 1e6:.0f} MB"
            rows.append(
                [f"{each.rows:,}", each.tool, f"{each.seconds:.2f} s", f"{pace:,.0f}", peak, f"{share:.1f} ×"]
            )
    print(table(["runs", "tool", "time", "rows/s", "peak memory", "time against ours"], rows), end="\n\n")


def show_hard_cases(folder: Path) -> None:
    """Measure and print the hard cases."""
    rows = [[told, f"{seconds:.2f} s"] for told, seconds in hard_cases(folder)]
    print(table(["hard case", "time"], rows), end="\n\n")


def show_starts(times: int, folder: Path) -> None:
    """Measure and print the starts."""
    medians = starts(times, folder)
    least = next(iter(medians.values()))
    rows = [[name, f"{median * 1e3:.0f} ms", f"{median / least:.2f} ×"] for name, median in medians.items()]
    print(table(["start", f"median of {times}", "ratio"], rows))


def main() -> None:
    """Print the tables, or act as one of the peers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="10^4 runs and 5 starts only")
    parser.add_argument("--starts", type=int, default=21, help="starts of each command (default 21)")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peer:
        *_, configs = PEERS[asked.peer]
        sys.stdout.writelines(
            json.dumps({"number": number, "config": config}) + "\n"
            for number, config in enumerate(configs(asked.rows), 1)
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        show_streams([10**4] if asked.quick else [10**4, 10**5, 10**6], Path(folder))
        show_hard_cases(Path(folder))
        show_starts(5 if asked.quick else asked.starts, Path(folder))


if __name__ == "__main__":
    main()
