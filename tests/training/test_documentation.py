"""What docs/mlspec.md shows works as it stands there."""

import re
from pathlib import Path

import yaml

from tests.training.sandbox import TrainingSandbox, leaf
from tests.training.test_row_failures import TENSORS, Data, cause

PAGE = (Path(__file__).parents[2] / "docs" / "mlspec.md").read_text()


def block(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


def test_the_first_mlspec_trains_on_its_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for folder in ("specs_of_mine", "data"):
        Path(folder).mkdir()
    Path("specs_of_mine/numbers.py").write_text(block("python"))
    for split in ("train", "validation"):
        rows = "".join(f"{row}.5,{-row}.5,{row % 2}\n" for row in range(20))
        Path(f"data/{split}.csv").write_text(f"a,b,label\n{rows}")
    shown = yaml.safe_load(block("yaml"))

    place = TrainingSandbox(tmp_path, "specs_of_mine.numbers:Numbers", data=shown["data"])
    place.train(leaf(), until=3)

    assert shown["mlspec"] == "specs.numbers:Numbers"
    assert place.epochs().keys() == {1, 2, 3}


def alike(text):
    """An error text apart from its numbers, up to where the page leaves off."""
    return re.sub(r"\d+", "0", text.strip().removesuffix("…").strip())


def test_the_failures_of_rows_that_the_page_quotes_are_those_that_runs_print(tmp_path, monkeypatch):
    quoted = re.search(r"fit:\n\n((?:    .*\n)+)", PAGE)[1].splitlines()
    monkeypatch.setattr(Data, "split", TENSORS)
    printed = [cause(tmp_path / "tuples", "Data"), cause(tmp_path / "sizes", "Sized")]

    assert len(quoted) == len(printed)
    for text, told in zip(quoted, printed, strict=True):
        assert alike(told).startswith(alike(text))
