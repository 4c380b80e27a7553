"""What people and programs are shown, letter by letter; `make golden` writes it anew."""

import io
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from rapidfire_cli.facts import WorkerDied
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.store.ranking import measured, ranking
from rapidfire_cli.terms import Epoch, RunState
from rapidfire_cli.view.audience import JsonLines
from rapidfire_cli.view.columns import columns
from rapidfire_cli.view.documents import experiment_document, ranking_document, run_document
from rapidfire_cli.view.expansion import expansion_table
from rapidfire_cli.view.formats import csv_columns, csv_lines, json_line, json_text, yaml_text
from rapidfire_cli.view.frame import frame
from rapidfire_cli.view.lines import Lines
from rapidfire_cli.view.results import failures, ranking_table, status_table
from rapidfire_cli.view.tables import plain
from tests.store.sweep import METADATA, VARIED, best, config, row, runs
from tests.view.sweeps import CAUSE, sweep, told

GOLDEN = Path(__file__).parents[1] / "golden" / "view"

ROWS = (
    row(
        1,
        0.9722,
        metrics={"validation": {"loss": 0.0871, "top1_accuracy": 0.9722}, "train": {"loss": 1.2e-05}},
        best=best(4, 0.9806),
    ),
    row(2, metrics={"validation": {"loss": float("inf"), "top1_accuracy": float("nan")}}),
    row(3, 0.9812, RunState.FAILED, epoch=2, step=40, error=CAUSE),
    row(4, 0.9889),
    row(5, state=RunState.QUEUED, epoch=0, step=0),
    row(6, 0.9701, RunState.FAILED, epoch=1, step=20, error=CAUSE, seed=7, replicate=1),
)
HOME = ExperimentDir(Path("experiments/digits"))
SEEN = Overview(METADATA, RunState.FAILED, ROWS, HOME, METADATA.objective)
RECORDS = [run_document(row, SEEN) for row in ROWS]


def drawn(runs: int, facts: int, width: int, height: int) -> str:
    board = told(runs, islice(sweep(runs, failing=3), facts))
    lines = frame(board, columns(board, width), elapsed=42.0, width=width, height=height)
    return "\n".join("".join(text for text, _ in line) for line in lines)


def ranked() -> str:
    places = ranking(ROWS, METADATA.objective)
    table = ranking_table(places, METADATA.objective, measured(ROWS, METADATA.objective.metric), VARIED)
    return "\n".join([*plain(table), *failures(ROWS, HOME)])


def replicated(at: Epoch = "last", more: str = "") -> str:
    pairs = [(0.97, 0), (0.98, 1), (0.99, 2)]
    rows = [
        row(number, value, leaf=config(1), replicate=k, best=best(k + 2, value + 0.005))
        for number, (value, k) in enumerate(pairs, 1)
    ]
    rows += [
        row(4, 0.95, best=best(1, 0.99)),
        row(5, 0.96, leaf=config(3)),
        row(6, leaf=config(3), replicate=1),
    ]
    rows += [row(7, 0.9, RunState.FAILED, leaf=config(3), replicate=2)]
    objective = replace(METADATA.objective, at=at)
    table = ranking_table(ranking(rows, objective), objective, measured(rows, "top1_accuracy"), VARIED, more)
    return "\n".join(plain(table))


def heard(audience: Callable[[io.StringIO], Lines | JsonLines]) -> str:
    stream = io.StringIO()
    facts = [*sweep(3, epochs=2, failing=3), WorkerDied(1, "killed by SIGKILL")]
    audience(stream).tell(facts)
    return stream.getvalue()


VIEWS: dict[str, Callable[[], str]] = {
    "expansion.txt": lambda: "\n".join(plain(expansion_table(runs(4), VARIED))),
    "status.txt": lambda: "\n".join(plain(status_table(SEEN))),
    "ranking.txt": ranked,
    "ranking.json": lambda: json_text(ranking_document(SEEN, ranking(ROWS, METADATA.objective))),
    "replicates.txt": replicated,
    "best-epochs.txt": lambda: replicated("best", "the best 3 of 4; `rapidfire best` shows all"),
    "experiment.json": lambda: json_text(experiment_document(SEEN, ROWS[:2])),
    "experiment.yaml": lambda: yaml_text(experiment_document(SEEN, ROWS[:2])),
    "runs.jsonl": lambda: "\n".join(map(json_line, RECORDS)),
    "runs.csv": lambda: "\n".join(csv_lines(RECORDS, csv_columns(RECORDS))),
    "facts.jsonl": lambda: heard(JsonLines),
    "facts.txt": lambda: heard(lambda stream: Lines(stream, dict.fromkeys((1, 2, 3), 2))),
    "live-before.txt": lambda: drawn(8, 0, width=80, height=24),
    "live-80.txt": lambda: drawn(8, 90, width=80, height=24),
    "live-120.txt": lambda: drawn(8, 90, width=120, height=24),
    "live-40.txt": lambda: drawn(8, 90, width=40, height=24),
    "live-500-runs.txt": lambda: drawn(500, 7001, width=100, height=24),
    "live-done.txt": lambda: drawn(8, 1000, width=80, height=24),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_its_golden_file(name):
    text = VIEWS[name]().rstrip("\n") + "\n"
    if os.environ.get("RAPIDFIRE_GOLDEN") == "write":
        GOLDEN.mkdir(parents=True, exist_ok=True)
        (GOLDEN / name).write_text(text, "utf-8")
    assert text == (GOLDEN / name).read_text("utf-8")


def test_every_golden_file_is_of_a_view():
    assert {path.name for path in GOLDEN.iterdir()} == set(VIEWS)
