"""Prepared rows on disk: the same bits, written once, and never a reason to fail."""

import errno
import os
import threading

import pytest
import torch

from rapidfire_cli.durable import publication
from rapidfire_cli.training import disk_rows
from rapidfire_cli.training.batches import Uncached
from rapidfire_cli.training.uploads import Mapped
from tests.shares import share
from tests.training import specs
from tests.training.noisy import Blobs
from tests.training.sandbox import TrainingSandbox, leaf, same

ROOM = 2**20
SPEC = f"{__name__}:Mixed"


class Mixed(Blobs):
    """Rows of several types, which a knob scales; those of the validation split draw."""

    prepared = 0

    def row_prep(self, row, cfg, mode):
        Mixed.prepared += 1
        x = row["x"] * cfg["user_knobs"]["scale"]
        noise = torch.randn(2) if mode == "validation" else torch.zeros(2)
        more = {"half": x.bfloat16(), "array": x.double().numpy(), "flag": True, "none": torch.zeros(0)}
        return {**row, "x": x, "noise": noise, **more}

    def compute_forward(self, model, batch, cfg):
        outputs = super().compute_forward(model, batch, cfg)
        rest = sum(batch[name].double().mean() for name in ("half", "array", "flag", "noise"))
        assert batch["none"].shape == (len(batch["x"]), 0)
        return {**outputs, "loss": outputs["loss"] + 1e-3 * rest.float()}


@pytest.fixture
def sandbox(tmp_path):
    """Makes a sandbox whose data workers end with the test."""
    made = []

    def make(name="place", spec=SPEC, **options):
        made.append(TrainingSandbox(tmp_path / name, spec, **options))
        return made[-1]

    yield make
    for each in made:
        each.executor.close()


def config(scale=1.0):
    return leaf(batch_size=5, user_knobs={"scale": scale})


def sources(place, run=1):
    """How the splits of a resident run are fed."""
    return {split: type(one) for split, one in place.executor._runs[run].batch_sources.items()}


def expected(sandbox):
    """What training without any cache gives."""
    alone = sandbox("alone", data_cache=0)
    alone.train(config(), until=3)
    return alone.weights(), alone.epochs()


def test_bits_do_not_depend_on_where_rows_are_kept(sandbox):
    weights, epochs = expected(sandbox)
    memory, disk, nowhere = {"data_cache": ROOM}, {"data_cache": 0, "disk_cache": ROOM}, {"data_cache": 0}
    for kept, workers in share([(disk, 1), (memory, 0), (disk, 0), (nowhere, 1)], 2):
        options = {**kept, "data_workers": workers, "chunks": 2}
        place = sandbox(f"{kept}{workers}", **options)
        place.stop_at = 3
        place.train(config(), until=6)
        if "disk_cache" in kept:
            assert set(sources(place).values()) == {Mapped}
        place = sandbox(f"{kept}{workers}", **options)  # another process, inside an epoch
        place.train(config(), until=6)
        assert same(place.weights(), weights)
        assert place.epochs() == epochs


def test_rows_are_written_once_for_all_workers_and_by_what_they_depend_on(sandbox):
    options = {"data_cache": 0, "disk_cache": ROOM}
    one, other = sandbox(**options), sandbox(**options)
    one.train(config(), until=1)
    before = Mixed.prepared
    other.train(config(), until=1, run=2)
    assert Mixed.prepared == before
    assert set(sources(other, 2).values()) == {Mapped}

    other.train(config(2.0), until=1, run=3)
    other.train(config(), until=1, run=4, seed=7)  # validation rows draw
    assert len([*(one.directory / "rows").iterdir()]) == 5
    assert not same(other.executor._runs[2].model.state_dict(), other.executor._runs[3].model.state_dict())


def test_a_damaged_file_is_prepared_again(sandbox):
    weights, epochs = expected(sandbox)
    place = sandbox(data_cache=0, disk_cache=ROOM)
    place.train(config(), until=1, run=2)
    for path in (place.directory / "rows").glob("*/0"):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    again = sandbox(data_cache=0, disk_cache=ROOM)
    again.train(config(), until=3)

    assert same(again.weights(), weights)
    assert again.epochs() == epochs
    for path in (place.directory / "rows").iterdir():
        publication.verify(path)


def test_a_knob_that_only_late_rows_read_tells_rows_apart(sandbox):
    spec = f"{__name__}:Late"
    place = sandbox(spec=spec, data_cache=0, disk_cache=ROOM)
    for run, scale in enumerate((1.0, 2.0, 2.0), start=1):
        place.train(config(scale), until=1, run=run)
        alone = sandbox(f"alone {run}", spec, data_cache=0)
        alone.train(config(scale), until=1)
        assert place.epochs(run) == alone.epochs()
        assert set(sources(place, run).values()) == {Mapped}
    assert len([*(place.directory / "rows").iterdir()]) == 4


class Late(Blobs):
    """A row that is not in the sample reads a knob."""

    def load_data(self, data, cfg):
        splits = super().load_data(data, cfg)
        return {name: [{**row, "at": at} for at, row in enumerate(rows)] for name, rows in splits.items()}

    def row_prep(self, row, cfg, mode):
        late = row["at"] == 34
        return {**row, "x": row["x"] * (cfg["user_knobs"]["scale"] if late else 1)}


def test_of_two_workers_one_writes_while_the_other_waits(sandbox, monkeypatch):
    options = {"data_cache": 0, "disk_cache": ROOM}
    one, other = sandbox(**options), sandbox(**options)
    waits = threading.Event()
    monkeypatch.setattr(disk_rows.time, "sleep", lambda _: waits.set())
    monkeypatch.setattr(publication, "_is_alive", lambda process: True)
    draft = one.directory / "rows" / ".tmp-7-{}"

    one.train(config(), until=1)
    names = [path.name for path in (one.directory / "rows").iterdir()]
    for name in names:  # as another process that has not finished
        (one.directory / "rows" / name).rename(draft.with_name(draft.name.format(name)))

    def finish():
        waits.wait()
        for name in names:
            draft.with_name(draft.name.format(name)).rename(draft.with_name(name))

    finishing = threading.Thread(target=finish)
    finishing.start()
    other.train(config(), until=1, run=2)
    finishing.join()
    assert waits.is_set()
    assert set(sources(other, 2).values()) == {Mapped}
    assert sorted(path.name for path in (one.directory / "rows").iterdir()) == sorted(names)


def test_what_a_killed_writer_left_is_deleted(sandbox):
    place = sandbox(data_cache=0, disk_cache=ROOM)
    left = place.directory / "rows" / f".tmp-{2**22 + 1}-{ROOM}-abc"
    left.mkdir(parents=True)
    place.train(config(), until=1)

    assert not left.exists()
    assert set(sources(place).values()) == {Mapped}


@pytest.mark.parametrize("full", ["write", "sync", "room", "disk"])
def test_a_full_disk_means_rows_prepared_in_every_epoch(sandbox, monkeypatch, full):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    weights, epochs = expected(sandbox)
    place = sandbox(data_cache=0, disk_cache=ROOM if full != "room" else 10)
    reason = "they cannot be written to disk (No space left on device)"
    match full:
        case "write":
            monkeypatch.setattr(disk_rows, "_bytes", fail)
        case "sync":
            monkeypatch.setattr(publication, "issue", fail)
        case "room":
            reason = "they need 0.0 MiB, more than `data_cache` has left, and `disk_cache` has 0.0 MiB left"
        case "disk":
            monkeypatch.setattr(disk_rows, "FREE", 0)
            reason = "they need 0.0 MiB, and the disk has "
    place.train(config(), until=1)
    assert set(sources(place).values()) == {Uncached}
    place.train(config(), until=3)

    assert place.log().count(reason) == 2  # once a split
    assert same(place.weights(), weights)
    assert place.epochs() == epochs
    assert [*(place.directory / "rows").iterdir()] == []


def test_rows_that_cannot_be_stacked_are_not_kept_on_disk(sandbox):
    place = sandbox(spec=f"{specs.__name__}:Ragged", data_cache=0, disk_cache=ROOM)
    place.train(leaf(), until=1)

    assert set(sources(place).values()) == {Uncached}
    assert "and `data_cache` has 0.0 MiB left" in place.log()
