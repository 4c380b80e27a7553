"""Demo data for the templates, made without a network: each function yields files, as paths and bytes.

Images and tables come with scikit-learn, texts are the sources of Python's standard library.
"""

import csv
import io
import random
import runpy
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, assert_never

from rapidfire_cli.app.templates import ROOT, File, Name

Row = TypeVar("Row")

HELD_OUT = 0.2  # the share of the rows that goes to validation
PACKAGES = ("asyncio", "email", "unittest", "xml")
PASSAGES = 250  # of each package, at most
SHAPE, CONTEXT, VOCABULARY, STEPS = {"width": 32, "depth": 2}, 48, 512, 200
"""Of the base model of the LoRA template."""


def files(template: Name) -> Iterator[File]:
    """The demo data of a template. Raises ModuleNotFoundError if the package that has them is missing."""
    match template:
        case "digits":
            import sklearn  # noqa: F401 - its MLSpec loads the data from there

            return iter(())
        case "imagenet":
            return _images()
        case "imdb":
            return _labelled_passages()
        case "causal_lm":
            return _sources()
        case "lora":
            return chain(_sources(), _base_model(passages("asyncio", 1000)))
        case "tabular":
            return _tables()
    assert_never(template)


def _images() -> Iterator[File]:
    """1,797 scans of digits as PNG, in a folder per split and digit, and tables of their paths and labels."""
    from PIL import Image
    from sklearn.datasets import load_digits

    scans = load_digits()
    for split, rows in _parted(range(len(scans.target))).items():
        table = []
        for row in rows:
            path = f"data/digits/{split}/{scans.target[row]}/{row:04}.png"
            image = Image.fromarray((scans.images[row] * 15).astype("uint8"))  # 0 to 16 becomes 0 to 240
            yield path, _saved(image)
            table.append((path, int(scans.target[row])))
        yield f"data/digits_{split}.csv", _csv(("path", "label"), table)


def _labelled_passages() -> Iterator[File]:
    """Passages of the standard library, labelled by their packages: a csv per split."""
    rows = [(text, label) for label, package in enumerate(PACKAGES) for text in passages(package, PASSAGES)]
    for split, chosen in _parted(rows).items():
        yield f"data/passages_{split}.csv", _csv(("text", "label"), chosen)


def _sources() -> Iterator[File]:
    """Passages of one package, a text file per split."""
    yield from _text("sources", passages("email", 500))


def _tables() -> Iterator[File]:
    """Tumours as csv, benign or malignant; the progression of diabetes as parquet, with two text columns."""
    from sklearn.datasets import load_breast_cancer, load_diabetes

    tumours = load_breast_cancer(as_frame=True).frame
    tumours["diagnosis"] = [("malignant", "benign")[target] for target in tumours.pop("target")]
    for split, rows in _parted(range(len(tumours))).items():
        yield f"data/tumours_{split}.csv", tumours.iloc[rows].to_csv(index=False).encode()
    patients = load_diabetes(as_frame=True, scaled=False).frame
    patients["progression"] = patients.pop("target")
    patients["sex"] = [f"group {sex:.0f}" for sex in patients["sex"]]
    patients["age"] = [f"{age // 10:.0f}0 to {age // 10:.0f}9" for age in patients["age"]]
    for split, rows in _parted(range(len(patients))).items():
        yield f"data/diabetes_{split}.parquet", patients.iloc[rows].to_parquet(index=False)


def _parted(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows by split, in a random order that is always the same."""
    shuffled = random.Random(0).sample(rows, len(rows))
    held_out = round(len(rows) * HELD_OUT)
    return {"train": shuffled[held_out:], "validation": shuffled[:held_out]}


def passages(package: str, most: int) -> list[str]:
    """What stands between blank lines in the sources of a package, if it is neither short nor long."""
    directory = Path(sysconfig.get_path("stdlib"), package)
    texts = [path.read_text("utf-8") for path in sorted(directory.rglob("*.py"))]
    found = [passage for text in texts for passage in text.split("\n\n") if 80 <= len(passage) <= 600]
    unique = [*dict.fromkeys(found)]
    return random.Random(0).sample(unique, min(most, len(unique)))


def _text(name: str, passages: Sequence[str]) -> Iterator[File]:
    for split, chosen in _parted(passages).items():
        yield f"data/{name}_{split}.txt", "\n\n".join(chosen).encode()


def _base_model(texts: Sequence[str]) -> Iterator[File]:
    """A GPT-2 and its tokenizer in transformers' format, made by the functions of the spec and trained."""
    import torch
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    made = runpy.run_path(str(ROOT / "specs" / "causal_lm.py"))
    trained = made["trained_tokenizer"](texts, VOCABULARY)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained, eos_token=made["END"])
    tokens = torch.tensor(tokenizer(tokenizer.eos_token.join(texts))["input_ids"])
    blocks = tokens[: len(tokens) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the steps are too short for more
    model = made["gpt2"](len(tokenizer), tokenizer.eos_token_id, {**SHAPE, "context": CONTEXT})
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(STEPS):
        batch = blocks[torch.randint(len(blocks), (16,))]
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        for path in sorted(Path(directory).iterdir()):
            yield f"data/base/{path.name}", path.read_bytes()


def _saved(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().encode()
