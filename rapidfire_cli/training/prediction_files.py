"""Write predictions to csv, JSON lines or parquet files, which appear complete or not at all."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from torch import Tensor

from rapidfire_cli.durable import publication
from rapidfire_cli.terms import spoken
from rapidfire_cli.training.failure import Failure

Records: TypeAlias = Iterable[Mapping[str, Any]]

BLOCK = 10_000  # rows that are converted to parquet columns at once (assumed: some MB)


def written(path: Path, records: Records) -> None:
    """Write the records, one per row. Raises OSError, Failure, and what computing the records raises."""
    with publication.replacing(path) as file:
        WRITERS[path.suffix.lower()](file, map(plain_record, records))


def plain_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record with tensors and arrays converted to numbers and lists."""
    return {str(name): plain(value) for name, value in record.items()}


def plain(value: Any) -> Any:
    """Convert tensors and arrays, also nested ones, to numbers and lists."""
    match value:
        case Tensor() | np.ndarray() | np.generic():
            return value.tolist()
        case Mapping():
            return plain_record(value)
        case list() | tuple():
            return [plain(one) for one in value]
    return value


def _write_csv(file: BinaryIO, records: Records) -> None:
    """Write a header and a line per record, with lists and mappings as JSON."""
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    table = csv.writer(text)
    for row, record in enumerate(_alike(records)):
        if row == 0:
            table.writerow(record)
        table.writerow([_cell(value) for value in record.values()])
    text.detach()


def _alike(records: Records) -> Iterator[Mapping[str, Any]]:
    """Yield the records; check that all have the columns of the first. Raises Failure."""
    names: list[str] = []
    for row, record in enumerate(records):
        names = names or [*record]
        if [*record] != names:
            told = f"the prediction of row {row} has the columns {', '.join(record)}"
            raise Failure("error", f"{told}; that of row 0 has {', '.join(names)}")
        yield record


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def _write_jsonl(file: BinaryIO, records: Records) -> None:
    """Write a line per record; NaN and infinities, which JSON lacks, become strings."""
    for record in records:
        file.write(f"{json.dumps(_spoken(record), ensure_ascii=False, allow_nan=False)}\n".encode())


def _spoken(value: Any) -> Any:
    match value:
        case float():
            return spoken(value)
        case Mapping():
            return {name: _spoken(one) for name, one in value.items()}
        case list():
            return [_spoken(one) for one in value]
    return value


def _write_parquet(file: BinaryIO, records: Records) -> None:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    rows, tables = _alike(records), []
    while block := [*islice(rows, BLOCK)]:
        tables.append(pyarrow.Table.from_pylist(block))
    parquet.write_table(pyarrow.concat_tables(tables, promote_options="permissive"), file)


WRITERS: Mapping[str, Callable[[BinaryIO, Records], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
