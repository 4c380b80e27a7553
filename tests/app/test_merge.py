"""Parts of an experiment that were trained apart become one, with their numbers and their history."""

import errno
import os
from pathlib import Path

import pytest

from rapidfire_cli.app.ci import Shard
from rapidfire_cli.app.verbs.merge import merge
from rapidfire_cli.durable import failpoints
from rapidfire_cli.facts import BracketBegun
from rapidfire_cli.manifest import codec
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.queries import overview
from rapidfire_cli.terms import RunState
from tests.app.fake_workers import Cli, sha
from tests.app.test_fit import CALM, grid
from tests.app.test_oom import grid as batches


def rising(lr: float, epoch: int) -> float:
    return lr * epoch


@pytest.fixture
def shard(tmp_path):
    """Trains shard I of N of a text in a place of its own."""

    def train(text: str, index: int, count: int) -> Cli:
        cli = Cli(tmp_path / f"{index}", rising)
        cli.fit(text, CALM, shard=Shard(index, count))
        return cli

    return train


def merged(tmp_path, *parts: Cli) -> Cli:
    whole = Cli(tmp_path / "whole", rising)
    whole.home.path.parent.mkdir(parents=True)
    assert merge([str(part.home.path) for part in parts], None, whole.home.path) == 0
    for part in parts:
        whole.checkpoints |= part.checkpoints
    return whole


def rows(cli: Cli) -> list[tuple[object, ...]]:
    seen = overview(cli.home.journal, alive=False)
    return [(row.number, row.id, row.state, row.epoch, row.metrics) for row in seen.rows]


def refused(*words: object, to: object) -> str:
    with pytest.raises(Refusal) as refusal:
        merge([str(word) for word in words], None, to)
    assert not to.is_dir()
    [problem] = refusal.value.problems
    assert problem.code == "E611"
    return problem.message


def test_shards_make_what_the_whole_would_have_been(tmp_path, shard):
    text = grid("[0.1, 0.2, 0.3, 0.4, 0.5]")
    whole = merged(tmp_path, *(shard(text, index, 3) for index in (1, 2, 3)))
    alone = Cli(tmp_path / "alone", rising)
    alone.fit(text, CALM)
    assert rows(whole) == rows(alone)
    assert whole.home.manifest.read_text() == alone.home.manifest.read_text()
    assert whole.home.file.read_text() == alone.home.file.read_text()


def test_what_is_missing_is_trained_afterwards(tmp_path, shard):
    text = grid("[0.1, 0.2, 0.3, 0.4, 0.5]")
    whole = merged(tmp_path, shard(text, 1, 3), shard(text, 3, 3))
    assert set(whole.states) == {1, 3, 4}
    whole.fit(text, CALM)
    assert whole.states == dict.fromkeys(range(1, 6), RunState.COMPLETED)


def test_a_bracket_of_a_shard_goes_on_comparing_its_own_runs(tmp_path, shard):
    text = sha(8)
    parts = shard(text, 1, 2), shard(text, 2, 2)
    whole = merged(tmp_path, *parts)
    begun = [event.runs for event in whole.past if isinstance(event, BracketBegun)]
    assert begun == [(1, 3, 5, 7), (2, 4, 6, 8)]
    assert [each.bracket for each in whole.decisions] == [
        *(each.bracket for each in parts[0].decisions),
        *(each.bracket + 1 for each in parts[1].decisions),
    ]
    known = known_runs(whole.home.journal, 1)
    assert [one.bracket for one in known] == [1, 2] * 4
    states = whole.states
    whole.fit(text, CALM)
    assert whole.states == states


def test_replicates_stay_in_one_shard(tmp_path, shard):
    text = grid("[0.1, 0.2, 0.3]").replace("gridsearch: {", "gridsearch: {replicates: 2, ")
    first, second = (set(shard(text, index, 2).states) for index in (1, 2))
    assert (first, second) == ({1, 2, 5, 6}, {3, 4})


def test_runs_of_earlier_versions_of_the_file_come_along_unlisted(tmp_path, shard):
    parts = [shard(grid("[0.9, 0.1]"), index, 2) for index in (1, 2)]
    parts[0].fit(grid("[0.1]"), CALM, shard=Shard(2, 2))
    parts[1].fit(grid("[0.1]"), CALM, shard=Shard(1, 2))
    whole = merged(tmp_path, *parts)
    assert whole.states.keys() == {1, 2}
    assert [run.number for run in codec.read_whole(whole.home.manifest.read_text(), "")[1]] == [2]


def test_parts_of_different_files_are_refused(tmp_path, shard):
    first, second = shard(grid("[0.1, 0.2]"), 1, 2), shard(grid("[0.1, 0.3]"), 2, 2)
    said = refused(first.home.path, second.home.path, to=tmp_path / "whole")
    assert said == f"{first.home.path} and {second.home.path} were trained from different files"


def test_a_run_that_both_have_trained_is_refused(tmp_path, shard):
    text = grid("[0.1, 0.2]")
    first, second = shard(text, 1, 2), shard(text, 2, 2)
    second.fit(text, CALM)
    said = refused(first.home.path, second.home.path, to=tmp_path / "whole")
    assert said == f"run 1 was trained in {first.home.path} and in {second.home.path}"


def test_runs_that_share_a_number_by_accident_are_refused(tmp_path):
    parts = [Cli(tmp_path / f"{index}", lambda lr, epoch: lr, fits=2) for index in (1, 2)]
    for index, part in enumerate(parts, 1):
        part.fit(batches("[4, 8]"), CALM, shard=Shard(index, 2))
        assert part.states.keys() >= {index, 3}
    said = refused(*(part.home.path for part in parts), to=tmp_path / "whole")
    assert said == f"run 3 of {parts[0].home.path} and run 3 of {parts[1].home.path} are different runs"


def test_one_experiment_and_the_same_one_twice_are_refused(tmp_path, shard):
    first = shard(grid("[0.1, 0.2]"), 1, 2).home.path
    assert refused(first, to=tmp_path / "whole") == f"{first} is only one experiment"
    assert refused(first, first, to=tmp_path / "whole") == f"{first} is given twice"
    assert refused(first, to=tmp_path / "a" / "b") == f"the parent of {tmp_path / 'a' / 'b'} does not exist"


def test_a_merge_that_fails_leaves_nothing_and_the_parts_as_they_were(tmp_path, shard, monkeypatch):
    text = grid("[0.1, 0.2]")
    parts = shard(text, 1, 2), shard(text, 2, 2)
    before = [rows(part) for part in parts]
    target = tmp_path / "whole" / "file"
    target.parent.mkdir()
    for failing in ("commit", "rename", "sync"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
            patch.setattr(failpoints, "hook", full(failing))
            merge([str(part.home.path) for part in parts], None, target)
        assert list(target.parent.iterdir()) == []
    assert [rows(part) for part in parts] == before
    assert merge([str(part.home.path) for part in parts], None, target) == 0


def full(failing: str) -> failpoints.Hook:
    """A disk that is full whenever this is asked of it."""

    def hook(operation: str, *paths: Path) -> None:
        if operation == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(paths[0]))

    return hook
