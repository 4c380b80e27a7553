"""The default load_data reads real files through the datasets library."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from tests.training import specs
from tests.training.sandbox import TrainingSandbox, leaf

ROWS = [{"a": row % 3, "b": row % 5, "labels": row % 2} for row in range(20)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


def write_csv(path):
    lines = ["a,b,labels", *(f"{row['a']},{row['b']},{row['labels']}" for row in ROWS)]
    path.write_text("\n".join(lines) + "\n")


def write_json(path):
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def write_parquet(path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("kind", "write"), [("csv", write_csv), ("json", write_json), ("parquet", write_parquet)]
)
def test_files_of_rows(tmp_path, kind, write):
    files = {split: str(tmp_path / f"{split}.{kind}") for split in ("train", "validation")}
    for file in files.values():
        write(type(tmp_path)(file))

    place = TrainingSandbox(tmp_path, "Default", data={"path": kind, "data_files": files})
    place.train(leaf(), until=3)

    values = place.epochs()[3]
    assert {split for split, _ in values} == {"train", "validation"}
    assert values["validation", "top1_accuracy"] == pytest.approx(0.5, abs=0.25)


def test_folders_of_pictures(tmp_path):
    for split in ("train", "validation"):
        for label in ("dark", "light"):
            folder = tmp_path / "pictures" / split / label
            folder.mkdir(parents=True)
            for number in range(6):
                shade = number + (200 if label == "light" else 0)
                Image.new("RGB", (4, 4), (shade, shade, shade)).save(folder / f"{number}.png")

    place = TrainingSandbox(
        tmp_path, "Pictures", data={"path": "imagefolder", "data_dir": str(tmp_path / "pictures")}
    )
    place.train(leaf({"name": "Adam", "args": {"lr": 0.1}}, epochs=10), until=10)

    assert place.epochs()[10]["validation", "top1_accuracy"] == 1.0


def test_data_is_loaded_once_for_runs_that_read_the_same_knobs(tmp_path):
    specs.Sized.loaded = 0
    place = TrainingSandbox(tmp_path, "Sized", data={"rows": 30})

    for run, share in enumerate((0.5, 0.5, 0.8), start=1):
        place.train(leaf(user_knobs={"share": share, "of_no_matter": run}), until=1, run=run)

    assert specs.Sized.loaded == 2
    assert [len(place.executor._runs[run].batch_sources["train"]) for run in (1, 2, 3)] == [15, 15, 24]


def test_data_stays_loaded_while_a_run_uses_it_and_of_the_rest_the_last_asked_for(tmp_path):
    specs.Sized.loaded = 0
    place = TrainingSandbox(tmp_path, "Sized", data={"rows": 30}, data_cache=0)
    shares = dict(enumerate((0.3, 0.4, 0.5, 0.6, 0.7, 0.8), start=1))

    def train(run, until):
        place.train(leaf(user_knobs={"share": shares[run]}), until=until, run=run)

    for run in shares:
        train(run, until=1)
    for run in (7, 8, 9, 10, 11):  # a like run for each data set but the last: all are in use
        shares[run] = shares[run - 6]
        train(run, until=1)
    assert specs.Sized.loaded == 6

    for run in shares:
        place.evict(run)
    train(2, until=2)  # one of the four that were asked for last
    assert specs.Sized.loaded == 6
    place.evict(2)
    train(6, until=2)
    assert specs.Sized.loaded == 7
    place.evict(6)
    train(2, until=3)  # it was asked for since, so it has not gone
    assert specs.Sized.loaded == 7


def test_data_that_is_drawn_is_loaded_for_each_seed(tmp_path):
    specs.Sized.loaded = 0
    place = TrainingSandbox(tmp_path, "Sized", data={"rows": 30, "shuffle": True})

    for run, seed in enumerate((1, 2, 1), start=1):
        place.train(leaf(user_knobs={"share": 0.5}), until=1, run=run, seed=seed)

    assert specs.Sized.loaded == 2
