"""It runs where people run it: behind links, in any locale, beside files of any name, without a HOME."""

import json
import os
import subprocess
import sys

import pytest

from tests.shares import share

SPEC = """
import queue, token, types, logging, rich, datasets, tqdm
import utils
import torch
from rapidfire_cli.mlspec import MLSpec


class Line(MLSpec):
    def row_prep(self, row, cfg, mode):
        assert row["größe"] == "groß"
        return {"x": torch.tensor([float(row["a"])]), "labels": row["labels"]}

    def create_model(self, cfg):
        print("größe", cfg["user_knobs"]["note"], utils.MINE, len(datasets.__version__) > 0)
        return torch.nn.Linear(1, 2)

    def compute_forward(self, model, batch, cfg):
        logits = model(batch["x"])
        return {"loss": torch.nn.functional.cross_entropy(logits, batch["labels"]), "logits": logits}
"""
FILE = """\
experiment: line
mlspec: line:Line
data: {path: csv, data_files: {train: größe.csv}}
execution: {workers: 1}
config:
  user_knobs: {note: "größe — 実験"}
  train: {epochs: 1, batch_size: 2, optimizer: {name: SGD, args: {lr: 0.1}}}
"""
SHADOWS = ("queue", "token", "types", "logging", "socket", "rich", "datasets", "tqdm", "yaml", "torch")


@pytest.fixture
def place(tmp_path):
    """A directory whose files have the names of modules, with an experiment in it."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the working directory')")
    (tmp_path / "utils.py").write_text("MINE = 'mine'")
    (tmp_path / "line.py").write_text(SPEC, "utf-8")
    (tmp_path / "experiment.yaml").write_text(FILE, "utf-8")
    (tmp_path / "größe.csv").write_text("a,größe,labels\n1,groß,0\n3,groß,1\n2,groß,1\n", "utf-8")
    return tmp_path


def run(place, *arguments, **environment):
    """What it printed, as bytes, and its exit code."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-P", "-m", "rapidfire_cli", *arguments],
        cwd=place,
        env={**kept, "COLUMNS": "120", **environment},
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_it_trains_behind_a_link_beside_files_named_like_modules_in_c_locale_without_home_or_gpu(place):
    (place / "disk").mkdir()
    (place / "linked").symlink_to("disk")
    ways = {"LC_ALL": "C", "HOME": "/dev/null/home", "CUDA_VISIBLE_DEVICES": "7"}
    done = run(place, "fit", "experiment.yaml", "--dir", "linked/below", **ways)

    assert done.returncode == 0, done.stderr.decode()
    assert b"CUDA_VISIBLE_DEVICES names 7" in done.stderr
    (log,) = (place / "disk" / "below" / "line" / "runs").glob("*/log.txt")
    assert "größe größe — 実験 mine True" in log.read_text("utf-8")
    assert any((place / "disk" / "below" / "line" / "cache").rglob("*.arrow"))


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    "locale", share([ASCII, {**ASCII, "PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}], 3)
)
def test_tables_degrade_and_data_are_utf_8_in_a_locale_that_lacks_characters(place, locale):
    table = run(place, "expand", "experiment.yaml", "--why", "1", **locale)
    assert table.returncode == 0, table.stderr
    assert b"? ?" not in table.stdout and b"note" in table.stdout

    for output in ("jsonl", "json", "yaml", "csv"):
        data = run(place, "expand", "experiment.yaml", "--output", output, **locale)
        assert data.returncode == 0, data.stderr
        assert "größe — 実験" in data.stdout.decode("utf-8")
    assert json.loads(run(place, "schema", **locale).stdout)


@pytest.mark.parametrize("locale", share([ASCII, {"LC_ALL": "C.UTF-8"}], 2))
@pytest.mark.parametrize("name", [b"gr\xf6\xdfe.yaml", "größe.yaml".encode()])
def test_a_file_may_have_a_name_that_the_locale_cannot_spell(place, name, locale):
    path = place / os.fsdecode(name)
    (place / "experiment.yaml").rename(path)
    assert run(place, "expand", os.fsdecode(name), "--count", **locale).stdout == b"1\n"

    done = run(place, "expand", os.fsdecode(name), "--set", "train.epoch=1", **locale)
    assert done.returncode == 2 and b"E530" in done.stderr
    path.unlink()
    missing = run(place, "expand", os.fsdecode(name), **locale)
    assert missing.returncode == 2 and b"error[E501]" in missing.stderr


@pytest.mark.parametrize("name", share(["queue", "datasets"], 2))
def test_an_mlspec_in_a_file_that_is_named_like_a_module_is_refused_with_its_name(place, name):
    (place / f"{name}.py").write_text(SPEC, "utf-8")
    done = run(place, "check", "experiment.yaml", "--set", f"mlspec={name}:Line")

    assert done.returncode == 2
    assert b"error[E410]" in done.stderr and f"found: `{name}.py`".encode() in done.stderr
    assert b"hint: rename the file" in done.stderr


def test_why_no_worker_starts_is_one_line(place, tmp_path_factory):
    broken = tmp_path_factory.mktemp("broken") / "torch"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise OSError('libtorch.so: file too short')")
    done = run(place, "fit", "experiment.yaml", PYTHONPATH=str(broken.parent))

    assert done.returncode == 5
    (line,) = done.stderr.decode().strip().splitlines()
    assert line.startswith(
        "error: workers failed to start: the last one ended with exit code 1: OSError: libtorch.so"
    )
    assert line.endswith("worker-0.log")


def test_a_working_directory_that_is_gone_is_one_line(tmp_path):
    gone = tmp_path / "gone"
    (tmp_path / "experiment.yaml").write_text(FILE, "utf-8")
    code = (
        f"import os, sys; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); "
        f"os.execv(sys.executable, [sys.executable, '-P', '-m', 'rapidfire_cli', 'fit', sys.argv[1]])"
    )
    for file in ("experiment.yaml", str(tmp_path / "experiment.yaml")):
        gone.mkdir()
        done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=False)
        assert done.returncode == 5, done.stderr
        assert len(done.stderr.splitlines()) == 1 and "working directory" in done.stderr


@pytest.mark.parametrize("way", [["--dir", "d" * 300], ["--dir", "/".join(["d" * 200] * 30)]])
def test_a_path_that_is_too_long_is_one_line(place, way):
    done = run(place, "fit", "experiment.yaml", *way)
    assert done.returncode == 5
    (line,) = done.stderr.decode().strip().splitlines()
    assert line.endswith("File name too long")


def test_an_experiments_name_that_no_file_can_have_is_refused(place):
    done = run(place, "fit", "experiment.yaml", "--set", f"experiment={'n' * 300}")
    assert done.returncode == 2
    assert b"error[E206]: invalid value for `experiment`" in done.stderr
