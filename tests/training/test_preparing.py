"""What `prepare` makes is made once, seen whole by every run, and not replaced once runs were trained."""

import json
from importlib import import_module

import pytest

from rapidfire_cli.engine.messages import Preparation, Probe
from rapidfire_cli.facts import PREPARED, RunOpened
from tests.training.sandbox import TrainingSandbox, leaf

SPECS = "tests.training.prepared_specs"


def sized(*sizes):
    return tuple(leaf(user_knobs={"size": size, "other": size * 10}) for size in sizes)


def prepared(directory, spec, leaves, kept=False, seed=42):
    """A worker that was told to prepare, and what it found wrong."""
    place = TrainingSandbox(directory, f"{SPECS}:{spec}")
    order = Preparation(tuple(json.dumps(each) for each in leaves), seed, kept)
    return place, place.executor.probe(Probe((), prepare=order)).findings


@pytest.fixture
def calls(request):
    """How many leaf configs each call of the spec's `prepare` was given."""
    counted = getattr(import_module(SPECS), request.param).calls
    counted.clear()
    return counted


def files(directory):
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("calls", ["Words"], indirect=True)
def test_every_run_sees_what_was_made_once(tmp_path, calls):
    prepared(tmp_path, "Words", sized(3, 4))
    place, findings = prepared(tmp_path, "Words", sized(3, 4))
    for run, config in enumerate(sized(3, 4), 1):
        place.train(config, until=1, run=run)

    assert calls == [2] and findings == ()
    words = f"words: {(tmp_path / 'prepared/words/list.txt').read_text()}"
    assert {*place.log(1).splitlines(), *place.log(2).splitlines()} == {words}
    assert files(tmp_path / "prepared") == ["MANIFEST.json", "words/list.txt"]


def test_it_draws_from_the_seed(tmp_path):
    for name, seed in (("one", 1), ("other", 1), ("another", 2)):
        (tmp_path / name).mkdir()
        prepared(tmp_path / name, "Words", sized(3), seed=seed)
    one, other, another = (
        (tmp_path / name / "prepared/words/list.txt").read_text() for name in ("one", "other", "another")
    )

    assert one == other != another


@pytest.mark.parametrize("calls", ["EachSize"], indirect=True)
def test_it_is_made_again_for_knobs_that_it_has_not_seen(tmp_path, calls):
    prepared(tmp_path, "EachSize", sized(1, 2))
    fewer = leaf(user_knobs={"size": 2, "other": 5}, epochs=7)
    prepared(tmp_path, "EachSize", [fewer])
    assert calls == [2]

    prepared(tmp_path, "EachSize", sized(1, 2, 3))
    assert calls == [2, 3]
    assert files(tmp_path / "prepared") == ["1", "2", "3", "MANIFEST.json"]


@pytest.mark.parametrize("calls", ["Words"], indirect=True)
def test_what_is_damaged_is_made_again(tmp_path, calls):
    prepared(tmp_path, "Words", sized(3))
    words = tmp_path / "prepared/words/list.txt"
    text = words.read_text()
    words.write_text("other")
    prepared(tmp_path, "Words", sized(3))

    assert calls == [1, 1] and words.read_text() == text


@pytest.mark.parametrize("calls", ["Whims"], indirect=True)
def test_runs_that_were_trained_keep_what_they_were_trained_with(tmp_path, calls):
    prepared(tmp_path, "Whims", sized(3))
    whim = (tmp_path / "prepared/whim").read_bytes()
    _, (finding,) = prepared(tmp_path, "Whims", sized(4), kept=True)

    assert (finding.code, finding.found) == ("E606", "changed: whim, words/list.txt")
    assert (tmp_path / "prepared/whim").read_bytes() == whim

    assert prepared(tmp_path, "Whims", sized(4))[1] == ()
    assert (tmp_path / "prepared/whim").read_bytes() != whim
    assert calls == [1, 1, 1]


def test_it_is_part_of_the_fingerprint(tmp_path):
    hashes = []
    for _ in range(2):
        place, _ = prepared(tmp_path, "Whims", sized(3 + len(hashes)))
        (opened,) = [
            one for one in place.train(sized(3)[0], until=len(hashes) + 1) if isinstance(one, RunOpened)
        ]
        hashes.append(json.loads(opened.data)[PREPARED])

    assert all(hashes) and hashes[0] != hashes[1]


@pytest.mark.parametrize(
    ("spec", "found"),
    [("Failing", "KeyError: 'words' (tests/training/prepared_specs.py:"), ("Linking", "OSError: ")],
)
def test_a_failure_is_located_and_leaves_nothing(tmp_path, spec, found):
    _, (finding,) = prepared(tmp_path, spec, sized(3))

    assert finding.code == "E415" and finding.found.startswith(found)
    assert finding.message == f"`{spec}.prepare` failed"
    assert "Traceback" in finding.traceback
    assert not [*tmp_path.iterdir()]
