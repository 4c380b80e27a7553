"""Checkpoints travel between two machines: whole, once, and in an order that survives any kill."""

from pathlib import Path

import pytest

from rapidfire_cli.durable import publication
from rapidfire_cli.engine.ray.copies import CHUNK, PREPARED, Store, Unit

TREE = "runs/1-abc"
OLD, MIDDLE, NEW = (f"step-{step:010d}-epoch-{step:06d}" for step in (1, 2, 3))


@pytest.fixture
def node(tmp_path) -> Store:
    return Store(tmp_path / "node")


@pytest.fixture
def here(tmp_path) -> Store:
    return Store(tmp_path / "here")


def checkpoint(store: Store, name: str, weights: bytes, **others: bytes) -> Path:
    files = {"model.safetensors": weights, "state.pt": b"state", **others}
    target = store.base(TREE) / name
    publication.publish(
        target, {each: lambda path, data=data: path.write_bytes(data) for each, data in files.items()}, {}
    )
    return target


def sent(source: Store, target: Store, tree: str = TREE, exact: bool = False) -> list[str]:
    """Send a tree; return what travelled, as paths of the source."""
    units = source.pin(tree)
    lacks, travelled = target.lacks(tree, units), []
    for unit in units:
        for part in unit.parts:
            if part.sha256 in lacks:
                lacks.discard(part.sha256)
                travelled.append(f"{unit.name}/{part.path}".rstrip("/"))
                for offset in range(0, part.size or 1, CHUNK):
                    data = source.read(tree, unit.name, part.path, offset)
                    target.receive(tree, part.sha256, data)
    target.install(tree, units, exact)
    source.unpin(tree)
    return travelled


def files(store: Store) -> dict[str, bytes]:
    found = [path for path in sorted(store.home.rglob("*")) if path.is_file()]
    return {path.relative_to(store.home).as_posix(): path.read_bytes() for path in found}


def test_a_checkpoint_arrives_as_a_publication(node, here):
    checkpoint(node, OLD, b"weights" * CHUNK, empty=b"")
    sent(node, here)
    assert files(here) == files(node)
    assert publication.verify(here.base(TREE) / OLD)


def test_bytes_that_are_there_under_another_name_do_not_travel(node, here):
    checkpoint(node, OLD, b"first")
    sent(node, here)
    newer = checkpoint(node, NEW, b"second", **{"best.safetensors": b"first"})
    publication.link({node.base(TREE) / "final.safetensors": newer / "model.safetensors"})
    assert sent(node, here) == [f"{NEW}/MANIFEST.json", f"{NEW}/model.safetensors"]
    assert files(here) == files(node)
    assert sent(node, here) == []


def test_outdated_checkpoints_go_once_a_newer_one_is_there_and_never_before(node, here):
    for name in (OLD, MIDDLE):
        checkpoint(here, name, name.encode())
    publication.twin(here.base(TREE) / OLD, here.base(TREE) / "kept" / OLD)
    (node.base(TREE)).mkdir(parents=True)
    sent(node, here)  # nothing: the worker was about to replace its only checkpoint
    assert {OLD, MIDDLE, "kept"} == {path.name for path in here.base(TREE).iterdir()}
    checkpoint(node, NEW, b"new")
    sent(node, here)
    assert {NEW, "kept"} == {path.name for path in here.base(TREE).iterdir()}
    assert publication.verify(here.base(TREE) / "kept" / OLD)


def test_an_exact_copy_has_nothing_else(node, here):
    checkpoint(here, OLD, b"old")
    for name in (MIDDLE, NEW):
        checkpoint(node, name, name.encode())
    sent(here, node, exact=True)
    assert files(node) == files(here)


def test_a_replaced_checkpoint_of_the_same_name_is_replaced(node, here):
    checkpoint(node, OLD, b"whole")
    sent(node, here)
    before = node.marks(TREE)
    checkpoint(node, OLD, b"only weights")
    assert node.marks(TREE) != before
    sent(node, here)
    assert files(here) == files(node)


def test_logs_and_unfinished_files_stay(node, here):
    checkpoint(node, OLD, b"old")
    for name in ("log.txt", ".tmp-1-step", "mine.txt"):
        (node.base(TREE) / name).write_text("mine")
    sent(node, here)
    assert [path.name for path in here.base(TREE).iterdir()] == [OLD]


def test_prepared_files_of_any_name_arrive_together(node, here):
    node.home.mkdir()
    with publication.draft(node.home / PREPARED) as draft:
        (draft / "deep" / "er").mkdir(parents=True)
        (draft / "deep" / "er" / "file").write_text("tokens")
        publication.issue(draft, node.home / PREPARED, publication.measured(draft), {"code": "1"})
    sent(node, here, PREPARED)
    assert files(here) == files(node) and publication.verify(here.home / PREPARED)


def test_what_is_damaged_on_its_way_is_not_installed(node, here):
    checkpoint(node, OLD, b"old")
    units = node.pin(TREE)
    for sha256 in here.lacks(TREE, units):
        here.receive(TREE, sha256, b"something else")
    with pytest.raises(OSError, match="damaged on its way"):
        here.install(TREE, units, exact=False)
    assert not (here.base(TREE) / OLD).exists()
    sent(node, here)  # again: nothing is left of it
    assert files(here).keys() == {name for name in files(node) if ".tmp-" not in name}


def test_a_checkpoint_that_its_worker_deletes_meanwhile_is_left_out(node, monkeypatch):
    checkpoint(node, OLD, b"old")
    checkpoint(node, NEW, b"new")
    share = publication.share

    def deleting(source: Path, target: Path) -> None:
        if source.parent.name == OLD and source.name == "state.pt":
            publication.remove(source.parent)
        share(source, target)

    monkeypatch.setattr(publication, "share", deleting)
    assert [unit.name for unit in node.pin(TREE)] == [NEW]


def test_epochs_come_before_checkpoints_that_refer_to_them_and_weights_after(node):
    checkpoint(node, NEW, b"new")
    checkpoint(node, OLD, b"old")
    for name in ("final.safetensors", "epochs.jsonl"):
        (node.base(TREE) / name).write_text(name)
    assert [unit.name for unit in node.units(TREE)] == ["epochs.jsonl", OLD, NEW, "final.safetensors"]


def test_nothing_is_there_at_first(node):
    assert node.pin(TREE) == () and node.marks(TREE) == frozenset() and node.units(PREPARED) == ()
    assert node.lacks(TREE, (Unit("x", ()),)) == set()
