"""Rows to predict: read from csv, JSON lines, parquet or an image folder through `datasets`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rapidfire_cli.mlspec import Dataset
from rapidfire_cli.training.user_code import relative

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
}
EXPECTED = "csv, tsv, json, jsonl or parquet files, or a folder of images"


class UnknownFormat(Exception):  # noqa: N818 - what was found
    """Rows cannot be read from this path."""

    expected = EXPECTED


@dataclass(frozen=True, slots=True)
class InputRows:
    """A dataset and, for images, the file of each row."""

    dataset: Dataset
    files: Sequence[str] = ()  # relative to the folder


def input_rows(path: Path, cache: str) -> InputRows:
    """Read the rows of the file, or of the folder's files in the order of their names.

    `datasets` stores converted files in the directory `cache`. Raises UnknownFormat, and what `datasets`
    raises.
    """
    if path.is_dir():
        return _of_folder(path, cache)
    if not path.is_file():
        raise UnknownFormat(f"{relative(str(path))} does not exist")
    if path.suffix.lower() not in FORMATS:
        raise UnknownFormat(f"{relative(str(path))} has an unknown format")
    return InputRows(_loaded(path.suffix.lower(), [path], cache))


def _of_folder(folder: Path, cache: str) -> InputRows:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    kinds = {suffix for path in files if (suffix := path.suffix.lower()) in FORMATS}
    images = [path for path in files if path.suffix.lower() in _image_suffixes()]
    if len(kinds) == 1 and not images:
        (suffix,) = kinds
        return InputRows(_loaded(suffix, [path for path in files if path.suffix.lower() == suffix], cache))
    if images and not kinds:
        import datasets

        rows = datasets.Dataset.from_dict({"image": [*map(str, images)]})
        names = [path.relative_to(folder).as_posix() for path in images]
        return InputRows(rows.cast_column("image", datasets.Image()), names)
    mixed = f"files of several kinds ({', '.join(sorted(kinds))}{' and images' if images else ''})"
    raise UnknownFormat(f"{relative(str(folder))} has {mixed if kinds else 'no such files'}")


def _loaded(suffix: str, files: Sequence[Path], cache: str) -> Any:
    import datasets

    datasets.disable_progress_bars()
    separator = {"sep": "\t"} if suffix == ".tsv" else {}
    data = {"rows": [*map(str, files)]}
    return datasets.load_dataset(FORMATS[suffix], data_files=data, split="rows", cache_dir=cache, **separator)


def _image_suffixes() -> frozenset[str]:
    from PIL import Image

    Image.init()
    return frozenset(Image.EXTENSION)
