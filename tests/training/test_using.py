"""A trained run is evaluated by the code that validated it, and predicts one row for each row, in order."""

import csv
import json
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from PIL import Image

from rapidfire_cli.engine.epoch_log import TOGETHER
from rapidfire_cli.engine.messages import Assignment, Evaluate, Predict, Use, Used, decode, encode
from rapidfire_cli.facts import RunFailed
from rapidfire_cli.terms import Objective
from rapidfire_cli.training.trained import reopened
from tests.training.sandbox import TrainingSandbox, leaf

SPECS = "tests.training.using_specs"
LOSS = Objective("loss", "min")


class Place(TrainingSandbox):
    """A worker's place in which a run was trained."""

    def __init__(self, directory, spec="Points", *, until=3, config=None, **setup):
        Path(directory).mkdir(exist_ok=True)
        super().__init__(directory, spec if ":" in spec else f"{SPECS}:{spec}", **setup)
        self.config = config or leaf()
        told = self.train(self.config, until)
        assert not [one for one in told if isinstance(one, RunFailed)]

    def use(self, task, at="last") -> Used:
        order = decode(encode(Use(self.assignment, at, task)))
        return decode(encode(self.executor.use(order)))

    @property
    def assignment(self):
        return Assignment(1, json.dumps(self.config), 42, str(self.directory / "1"))

    def model(self, at="last"):
        """The model as it is opened for use."""
        return reopened(self.assignment, at, self.executor._shared, "predict").model

    def evaluated(self, split="validation", at="last", metrics=()):
        answer = self.use(Evaluate(split, tuple(metrics)), at)
        assert not answer.findings, answer.findings
        return answer

    def refused(self, task, at="last"):
        (finding,) = self.use(task, at).findings
        return finding

    def predicted(self, rows: Path, suffix=".jsonl", size=None) -> list[dict]:
        output = self.directory / f"predictions{suffix}"
        answer = self.use(Predict(str(rows), str(output), size))
        assert not answer.findings, answer.findings
        return [json.loads(line) for line in output.read_text().splitlines()]


def named(answer: Used):
    return {(one.split, one.name): one.value for one in answer.metrics}


def points(path: Path, count: int, labels=False) -> Path:
    """A file of rows, each of which can be told from the others."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["a", "b", *(["labels"] if labels else [])])
        for row in range(count):
            table.writerow([row / 10, 0.5, *([row % 2] if labels else [])])
    return path


def files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("keep", ["resume", "weights"])
def test_validation_comes_to_the_bits_of_the_last_epoch(tmp_path, keep):
    place = Place(tmp_path, keep=keep)
    before = files(tmp_path)
    answer = place.evaluated()
    last = {key: value for key, value in place.epochs()[3].items() if key[0] == "validation"}
    assert named(answer) == last
    assert (answer.epoch, answer.step, answer.rows, answer.is_inside) == (3, 9, 16, False)
    assert files(tmp_path) == before


def test_what_training_changed_beside_the_weights_is_put_back(tmp_path):
    place = Place(tmp_path, "Counting")
    assert named(place.evaluated()).items() <= place.epochs()[3].items()


def test_rows_that_are_shaken_at_random_are_shaken_alike(tmp_path):
    place = Place(tmp_path, "Shaken")
    assert named(place.evaluated()).items() <= place.epochs()[3].items()


def test_an_epoch_that_is_only_in_the_log_is_found(tmp_path):
    config = leaf(optimizer={"name": "SGD", "args": {"lr": 3.0}}, epochs=2 * TOGETHER, batch_size=24)
    place = Place(tmp_path, until=2 * TOGETHER, config=config, objective=LOSS)
    assert named(place.evaluated()).items() <= place.epochs()[2 * TOGETHER].items()
    answer = place.evaluated(at="best")
    assert named(answer).items() <= place.epochs()[answer.epoch].items()


@pytest.mark.parametrize("keep", ["resume", "weights"])
def test_the_best_epoch_comes_to_its_bits(tmp_path, keep):
    config = leaf(optimizer={"name": "SGD", "args": {"lr": 3.0}}, epochs=4)
    place = Place(tmp_path, until=4, config=config, objective=LOSS, keep=keep)
    losses = {epoch: values["validation", "loss"] for epoch, values in place.epochs().items()}
    best = min(losses, key=lambda epoch: losses[epoch])
    assert best != 4, "this test needs a run that got worse"
    answer = place.evaluated(at="best")
    assert answer.epoch == best
    assert named(answer).items() <= place.epochs()[best].items()


def test_another_split_and_other_metrics_can_be_asked_for(tmp_path):
    place = Place(tmp_path)
    answer = place.evaluated("test", metrics=["f1_score", "loss"])
    assert [one.name for one in answer.metrics] == ["loss", "top1_accuracy", "f1_score"]
    assert answer.rows == 10
    finding = place.refused(Evaluate("tests"))
    assert (finding.code, finding.expected) == ("E621", "one of train, validation, test")
    assert place.refused(Evaluate("test", ("f1_scores",))).code == "E420"


def test_a_run_inside_an_epoch_is_used_as_the_last_finished_epoch_left_it_if_that_is_kept(tmp_path):
    place = Place(tmp_path, until=1, objective=LOSS)
    place.evict()
    place.stop_at = place.pulses + 2
    place.train(place.config, until=3)
    assert [path.name[-6:] for path in place.checkpoints()] == ["000001", "000001"]
    assert named(place.evaluated()).items() <= place.epochs()[1].items()

    (whole, _) = place.checkpoints()
    for file in whole.iterdir():
        file.unlink()
    whole.rmdir()
    answer = place.evaluated()  # the best epoch's weights are those of the last one
    assert (answer.epoch, answer.is_inside) == (1, False)
    assert named(answer).items() <= place.epochs()[1].items()


def test_weights_from_inside_an_epoch_are_used_where_there_are_no_others(tmp_path):
    place = Place(tmp_path, until=1)
    place.stop_at = place.pulses + 2
    place.train(place.config, until=3)
    answer = place.evaluated()
    assert (answer.epoch, answer.step, answer.is_inside) == (1, 5, True)


def test_a_run_without_a_finished_epoch_is_refused(tmp_path):
    place = Place(tmp_path, until=0)
    place.stop_at = 2
    place.train(place.config, until=3)
    assert len(place.checkpoints()) == 1
    assert place.refused(Evaluate("validation")).code == "E620"


@pytest.mark.parametrize("count", [1, 7, 8, 9])
def test_n_rows_in_are_n_rows_out_in_their_order(tmp_path, count):
    place = Place(tmp_path)
    rows = points(tmp_path / "rows.csv", count)
    found = place.predicted(rows)
    alone = [
        place.predicted(points(tmp_path / f"{row}.csv", row + 1), size=1)[-1] for row in range(count)[-2:]
    ]
    assert len(found) == count
    assert all(one.keys() == {"class", "probability"} for one in found)
    for one, other in zip(found[-2:], alone, strict=True):
        assert one["class"] == other["class"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)


def test_predictions_do_not_depend_on_labels_or_on_the_format(tmp_path):
    place = Place(tmp_path)
    expected = place.predicted(points(tmp_path / "rows.csv", 11))
    labelled = place.predicted(points(tmp_path / "labelled.csv", 11, labels=True), size=4)
    assert [one["class"] for one in labelled] == [one["class"] for one in expected]
    assert [one["probability"] for one in labelled] == pytest.approx([one["probability"] for one in expected])
    table = [{"a": row / 10, "b": 0.5} for row in range(11)]
    lines = tmp_path / "rows.jsonl"
    lines.write_text("".join(f"{json.dumps(row)}\n" for row in table))
    parquet = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), parquet)
    folder = tmp_path / "folder"
    folder.mkdir()
    for part, some in (("b", table[4:]), ("a", table[:4])):
        (folder / f"{part}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in some))
    for other in (lines, parquet, folder):
        assert place.predicted(other) == expected


def test_images_of_a_folder_are_rows_with_their_file(tmp_path):
    place = Place(tmp_path, "Pictures")
    for name, shade in (("b/2.png", 200), ("a/1.png", 100)):
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        Image.new("L", (2, 1), shade).save(tmp_path / "images" / name)
    found = place.predicted(tmp_path / "images")
    assert [(one["file"], one["shade"]) for one in found] == [("a/1.png", 100), ("b/2.png", 200)]


def test_the_mlspec_can_say_what_a_prediction_is_in_every_format(tmp_path):
    place = Place(tmp_path, "Own")
    rows = points(tmp_path / "rows.csv", 3)
    found = place.predicted(rows)
    assert [*found[0]] == ["first", "all", "nan"]
    assert found[0]["all"][0] == found[0]["first"] and found[0]["nan"] == "NaN"
    for suffix in (".csv", ".parquet"):
        assert not place.use(Predict(str(rows), str(tmp_path / f"out{suffix}"))).findings
    read = [*csv.DictReader((tmp_path / "out.csv").open())]
    assert [json.loads(one["all"]) for one in read] == [one["all"] for one in found]
    kept = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [one["all"] for one in kept] == [one["all"] for one in found]


def test_a_model_of_values_predicts_values(tmp_path):
    place = Place(tmp_path, "Line", config=leaf(named_metrics=["mean_squared_error"]))
    (one,) = place.predicted(points(tmp_path / "rows.csv", 1))
    assert [*one] == ["value"] and isinstance(one["value"], float)


@pytest.mark.parametrize(("spec", "told"), [("Uneven", "2 rows"), ("Breaking", "ValueError: enough")])
def test_a_prediction_that_fails_leaves_what_was_there(tmp_path, spec, told):
    place = Place(tmp_path, spec)
    rows, output = points(tmp_path / "rows.csv", 3), tmp_path / "out.csv"
    for before in ("", "kept"):
        if before:
            output.write_text(before)
        finding = place.refused(Predict(str(rows), str(output), 1 if spec == "Breaking" else 3))
        assert finding.code == "E624" and told in finding.found
        assert not list(tmp_path.glob(".tmp-*"))
        assert (output.read_text() if output.exists() else "") == before


@pytest.mark.parametrize(
    ("name", "text"), [("rows.txt", "a"), ("none.csv", None), ("broken.jsonl", "{"), ("empty", None)]
)
def test_rows_that_cannot_be_read_are_refused(tmp_path, name, text):
    place = Place(tmp_path)
    (tmp_path / "empty").mkdir()
    if text:
        (tmp_path / name).write_text(text)
    assert place.refused(Predict(str(tmp_path / name), str(tmp_path / "out.csv"))).code == "E623"


def test_the_process_is_as_it_was_after_a_use(tmp_path):
    place = Place(tmp_path)
    torch.manual_seed(1)
    before = torch.get_default_dtype(), torch.get_deterministic_debug_mode(), torch.is_grad_enabled()
    place.evaluated()
    assert (
        torch.get_default_dtype(),
        torch.get_deterministic_debug_mode(),
        torch.is_grad_enabled(),
    ) == before
