"""Every key of the grammar is carried out or refused: a fit and a worker are watched while they read a file.

A key counts as read when code beyond the grammar asks for it by name. Copying, comparing, printing and
hashing a file read every key, so they prove nothing and do not count.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from rapidfire_cli.app import searching
from rapidfire_cli.app.tracking import beside
from rapidfire_cli.engine.messages import Setup
from rapidfire_cli.shapes import AnyOf, Items, OrNull, Record, Variants
from rapidfire_cli.stopping.registry import RULES
from rapidfire_cli.store.queries import overview
from rapidfire_cli.store.ranking import ranking
from rapidfire_cli.syntax import ast
from rapidfire_cli.syntax.keys import CONFIG, FILE, GENERATORS, INEFFECTIVE, RANGE
from rapidfire_cli.syntax.parser import parse
from rapidfire_cli.terms import Execution, Objective
from rapidfire_cli.training import opening
from rapidfire_cli.training.train_config import TrainConfig
from tests.app.fake_workers import Cli, FaultRates
from tests.app.test_searching import InProcess
from tests.training.sandbox import TrainingSandbox

PACKAGE = Path(__file__).parents[1] / "rapidfire_cli"
PROVES_NOTHING = ("syntax/", "records.py", "manifest/identity.py:digest", "manifest/summary.py")
OF_THE_FILE = {"experiment": "name"}
"""Keys that the AST keeps under another name."""

HEAD = """\
experiment: watched
mlspec: none:None
data: {path: x}
seed: 7
objective: {metric: quality, direction: max, at: last}
trackers: [tensorboard]
"""
EXECUTION = """\
execution:
  checkpoint_every: 9
  hang_timeout: 99
  chunks: 1
  data_cache: 1MiB
  disk_cache: 1MiB
  data_workers: 1
  prefetch: 3
  keep: weights
  workers: 2
  threads: 1
  on_oom: {train.batch_size: /2}
"""
OPTIMIZER = "optimizer: {name: SGD, args: {lr: !range {start: 0.1, end: 0.9, dtype: float, step: 0.01}}}"
SEARCH = f"train: {{batch_size: 2, {OPTIMIZER}}}"
LOGARITHMIC = SEARCH.replace("step: 0.01", "log: true")
STOPPING = {
    "median": "early_stopping: {rule: median, metric: quality, direction: max, min_epochs: 1}",
    "patience": "early_stopping: {rule: patience, metric: quality, direction: max, epochs: 1, min_delta: 1}",
}
FILTERS = "replicates: 2, where: train.batch_size == 2, exclude: train.batch_size == 3"
RUNGS = "min_epochs: 1, max_epochs: 4, reduction_factor: 2, metric: quality, direction: max"
GROUPS = f"""\
config_group:
  - config: {{replicates: 2, train: {{epochs: 1, batch_size: 2,
      optimizer: {{name: SGD, args: {{lr: 0.5}}}}}}}}
  - gridsearch: {{{FILTERS}, train: {{epochs: 2, batch_size: 2,
      optimizer: {{name: SGD, args: {{lr: !list [0.1, 0.2]}}}}}}}}
  - sha: {{num_runs: 4, {RUNGS}, min_early_stopping_rate: 0, mode: sync, {FILTERS}, {SEARCH}}}
  - hyperband: {{{RUNGS}, {FILTERS}, {LOGARITHMIC}}}
  - search: {{num_runs: 3, startup: 2, metric: quality, direction: max, sampler: tpe, {FILTERS[15:]},
      {STOPPING["median"]}, train: {{epochs: 1, {SEARCH[8:]}}}
  - pbt: {{population: 2, perturb_every: 1, metric: quality, direction: max, quantile: 0.5, resample: 0.5,
      perturb: train.optimizer, mode: sync, where: train.batch_size == 1, exclude: train.batch_size == 3,
      train: {{epochs: 2, batch_size: 1, {OPTIMIZER}}}}}
"""
STOPPED = "".join(
    f"  - randomsearch: {{num_runs: 2, {stopping}, {FILTERS}, train: {{epochs: 2, {SEARCH[8:]}}}\n"
    for stopping in STOPPING.values()
)
TRAINED = {
    "epochs": 1,
    "batch_size": 8,
    "optimizer": {
        "name": "SGD",
        "args": {"lr": 0.1},
        "match": ["*"],
        "groups": [{"match": "*.bias", "lr": 0.01}],
    },
    "lr_scheduler": {"name": "ReduceLROnPlateau", "args": {}, "interval": "epoch", "monitor": "loss"},
    "precision": "fp32",
    "steps_per_epoch": 2,
    "drop_last": True,
    "grad_accumulation": 1,
    "max_grad_norm": 1.0,
    "eval_batch_size": 4,
    "compile": False,
    "deterministic": True,
    "on_nan": "fail",
}


def keys_of(shape, path: str) -> Iterator[str]:
    """The dotted path of every key below a shape."""
    match shape:
        case Record(keys):
            for key, inner in keys.items():
                yield f"{path}{key}"
                yield from keys_of(inner, f"{path}{key}.")
        case OrNull(inner) | Items(inner):
            yield from keys_of(inner, path)
        case AnyOf(shapes):
            for inner in shapes:
                yield from keys_of(inner, path)
        case Variants(_, forms):  # the parser itself reads which of them it is
            for word, form in forms().items():
                yield from keys_of(form.record, f"{path}{word}.")


def reader() -> str:
    """The module and function of the package that asks; empty where that proves nothing."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename in (__file__, ast.__file__):  # the AST computes for whoever asks it
        frame = frame.f_back
    asking = frame.f_code
    try:
        name = f"{Path(asking.co_filename).relative_to(PACKAGE).as_posix()}:{asking.co_name}"
    except ValueError:
        return ""
    return "" if name.startswith(PROVES_NOTHING) else name


@contextmanager
def attributes(*classes: type):
    """The attributes that are read meanwhile, as `Class.attribute`."""
    read: set[str] = set()

    def watch(cls: type, patch: pytest.MonkeyPatch) -> None:
        def getattribute(self, name):
            if reader():
                read.add(f"{cls.__name__}.{name}")
            return object.__getattribute__(self, name)

        patch.setattr(cls, "__getattribute__", getattribute)

    with pytest.MonkeyPatch.context() as patch:
        for cls in classes:
            watch(cls, patch)
        yield read


class Recording(dict):
    """A mapping that notes which of its keys are asked for by name."""

    def __init__(self, held, path: str, read: set[str]):
        super().__init__({key: recorded(value, f"{path}{key}.", read) for key, value in held.items()})
        self._path, self._read = path, read

    def _note(self, key):
        if reader():
            self._read.add(f"{self._path}{key}")

    def __getitem__(self, key):
        self._note(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        self._note(key)
        return super().get(key, default)


def recorded(value, path: str, read: set[str]):
    match value:
        case dict():
            return Recording(value, path, read)
        case list():
            return [recorded(each, path, read) for each in value]
    return value


SEVERAL = {"gpus", "batch_norm"}
"""Knobs of runs on several devices, which tests/scenarios/test_gangs.py trains."""

GENERATOR_CLASSES = {
    "config": ast.Config,
    "gridsearch": ast.GridSearch,
    "randomsearch": ast.RandomSearch,
    "sha": ast.SuccessiveHalving,
    "hyperband": ast.Hyperband,
    "search": ast.AdaptiveSearch,
    "pbt": ast.PopulationTraining,
}

STOPPING_CLASSES = {rule.word: rule for rule in RULES if rule.word}


@pytest.fixture(scope="module")
def read_by_fit(tmp_path_factory) -> set[str]:
    """What a fit reads of a file that has every key, memory running out in it."""
    classes = (ast.ExperimentFile, ast.Range, Execution, Objective, *STOPPING_CLASSES.values())
    with pytest.MonkeyPatch.context() as patch, attributes(*classes, *GENERATOR_CLASSES.values()) as read:
        patch.setattr(searching, "SamplerProcess", InProcess)
        patch.setattr(beside, "COMMAND", (sys.executable, "-c", ""))
        cli = Cli(tmp_path_factory.mktemp("fit"), lambda lr, epoch: lr * epoch, fits=1, keeps=True, idle=3000)
        cli.fit(HEAD + EXECUTION + GROUPS + STOPPED, FaultRates(), workers=0)
        instead = "execution: {runs_per_gpu: 2}\n"  # which cannot be combined with `workers`
        cli.fit(HEAD + instead + GROUPS + STOPPED, FaultRates(), workers=0, fresh=True)
        seen = overview(cli.home.path.with_name("watched") / "journal.db", alive=False)
        assert ranking(seen.rows, seen.objective)
    return read


@pytest.fixture(scope="module")
def read_by_worker(tmp_path_factory) -> set[str]:
    """What a worker reads of a run that has every knob."""
    read: set[str] = set()
    loads = SimpleNamespace(loads=lambda text: recorded(json.loads(text), "", read))
    with pytest.MonkeyPatch.context() as patch, attributes(TrainConfig, Setup) as fields:
        patch.setattr(opening, "json", loads)
        place = TrainingSandbox(tmp_path_factory.mktemp("worker"))
        place.train({"train": TRAINED, "named_metrics": ["top1_accuracy"], "user_knobs": {"width": 4}}, 1)
        assert 1 in place.epochs()
    return read | fields


def test_the_watched_run_has_every_knob():
    text = json.dumps({"config": {"train": TRAINED, "named_metrics": ["top1_accuracy"], "user_knobs": {}}})
    assert parse(text.encode(), "f.json").groups
    said = set(keys_of(CONFIG.keys["train"], ""))
    assert said - TRAINED.keys() - {key for key in said if "." in key} == SEVERAL


def test_every_key_of_the_file_is_read(read_by_fit):
    classes = {"objective": "Objective", "execution": "Execution"}
    unread = {
        key
        for key in keys_of(FILE, "")
        for section, _, rest in [key.partition(".")]
        if (f"{classes[section]}.{rest}" if rest else f"ExperimentFile.{OF_THE_FILE.get(key, key)}")
        not in read_by_fit
    }
    assert not unread


@pytest.mark.parametrize("word", GENERATORS)
def test_every_argument_of_a_generator_is_read(word, read_by_fit):
    unread = set()
    for key in keys_of(GENERATORS[word], ""):
        *section, name = key.split(".")
        if section == ["warm_start"]:  # the worker reads these: tests/training/test_warm_start.py
            continue
        cls = STOPPING_CLASSES[section[-1]] if section else GENERATOR_CLASSES[word]
        if f"{cls.__name__}.{name}" not in read_by_fit:
            unread.add(key)
    assert not unread


def test_every_part_of_a_range_is_read(read_by_fit):
    assert {f"Range.{key}" for key in RANGE.keys} <= read_by_fit


def test_every_knob_of_a_config_is_read_or_said_to_have_no_effect(read_by_worker):
    unread = {key for key in keys_of(CONFIG, "") if key not in read_by_worker}
    without = {
        *(f"train.{key}" for key in SEVERAL),
        *INEFFECTIVE,
        *("dev_knob", "dev_knob.demo_mode"),  # the controller reads it: tests/app/test_packing.py
        "user_knobs",  # whose knobs are the user's to read
    }
    assert unread <= without


def test_every_default_of_a_train_config_is_used(read_by_worker):
    several = {f"TrainConfig.{name}" for name in SEVERAL}
    assert {f"TrainConfig.{name}" for name in TrainConfig.__slots__} - several <= read_by_worker
