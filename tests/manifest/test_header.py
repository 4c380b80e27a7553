"""A manifest's header says what the file said."""

from pathlib import Path

import pytest

from rapidfire_cli.manifest.codec import header, read_whole
from rapidfire_cli.manifest.identity import digest
from rapidfire_cli.syntax.parser import parse
from tests.test_automl import MIXED, SHA, experiment_file

ROOT = Path(__file__).parents[2]
RICH = """\
experiment: rich
mlspec: specs.digits:DigitsSpec
data: {path: csv, files: [1, null, "no", 1e-3]}
seed: 7
objective: {metric: loss, direction: min}
execution: {chunks: 2, data_cache: 1MiB, checkpoint_every: 1.5}
gridsearch:
  early_stopping: {rule: median, metric: loss, direction: min}
  user_knobs: !list [{model: mlp, hidden: !list [1, 2]}, {model: "1e-4", other: {}}]
  train: {epochs: 1, batch_size: 8, optimizer: {name: SGD, args: {lr: 1e-1}}, lr_scheduler: null}
"""


@pytest.mark.parametrize(
    "file",
    [
        parse(RICH.encode(), "rich.yaml"),
        *(parse(path.read_bytes(), path.name) for path in sorted((ROOT / "configs").glob("*.yaml"))),
        experiment_file([*MIXED, [SHA]], experiment="mixed"),
    ],
    ids=lambda file: file.name,
)
def test_a_header_reads_back_as_the_experiment(file):
    again, runs = read_whole(header(file), "manifest.jsonl")
    assert again == file
    assert digest(again) == digest(file)
    assert runs == ()
