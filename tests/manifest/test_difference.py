"""What changes between the runs of two files."""

from hypothesis import given

from rapidfire_cli.manifest.difference import Change, difference, shared_changes
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.knob_paths import ABSENT
from rapidfire_cli.syntax.ast import Config, ExperimentFile, GridSearch, List, Tree
from tests.manifest.trees import MIXED, file, grids


def between(before: ExperimentFile, after: ExperimentFile):
    return difference(expand(before), expand(after))


def grid(**tree: Tree) -> ExperimentFile:
    return file(GridSearch(tree))


def numbers(pairs) -> list[tuple[int, int]]:
    return [(pair.before.number, pair.after.number) for pair in pairs]


def test_a_file_and_itself_share_every_run():
    found = between(file(*MIXED), file(*MIXED))
    assert not found.differs
    assert numbers(found.kept) == [(number, number) for number in range(1, 12)]


def test_runs_are_matched_by_what_they_are_not_by_their_numbers():
    found = between(grid(a=List((1, 2, 3))), grid(a=List((3, 4, 1, 2))))
    assert numbers(found.kept) == [(3, 1), (1, 3), (2, 4)]
    assert [run.leaf for run in found.added] == [{"a": 4}]
    assert (found.removed, found.changed) == ((), ())


def test_equal_runs_are_matched_one_by_one():
    found = between(file(Config({"a": 1}), Config({"a": 1})), file(*[Config({"a": 1})] * 3))
    assert numbers(found.kept) == [(1, 1), (2, 2)]
    assert [run.number for run in found.added] == [3]


def test_a_run_that_took_anothers_place_is_changed_in_the_knobs_that_differ():
    found = between(grid(a=List((1, 2)), b=5, c=7), grid(a=List((1, 2)), b=6.0, d=8))
    assert numbers(found.changed) == [(1, 1), (2, 2)]
    changes = (Change("b", 5, 6.0), Change("c", 7, ABSENT), Change("d", ABSENT, 8))
    assert all(pair.knobs == changes for pair in found.changed)


def test_those_that_differ_least_are_paired_first():
    before = file(GridSearch({"a": List((1, 2)), "b": 1}))
    after = file(GridSearch({"a": List((9, 2)), "b": 2}))
    assert numbers(between(before, after).changed) == [(1, 1), (2, 2)]
    assert [len(pair.knobs) for pair in between(before, after).changed] == [2, 1]


def test_runs_of_different_groups_are_not_paired():
    found = between(file(Config({"a": 1})), file(Config({"b": 1}), Config({"a": 2})))
    assert [run.group for run in found.added] == [2]
    assert numbers(found.changed) == [(1, 1)]


def test_an_int_and_its_float_are_two_values():
    (pair,) = between(file(Config({"a": [1]})), file(Config({"a": [1.0]}))).changed
    assert pair.knobs == (Change("a", [1], [1.0]),)


def test_of_very_many_runs_each_is_paired_with_the_one_in_its_place():
    many = List(tuple(range(400)))
    found = between(grid(a=many, b=1), grid(a=many, b=2))
    assert numbers(found.changed) == [(number, number) for number in range(1, 401)]


def test_what_every_run_shares_is_told_once():
    before, after = file(*MIXED, seed=1, data={"x": 1}), file(*MIXED, seed=2, data={"x": 1})
    assert shared_changes(before, after) == (Change("seed", 1, 2),)
    assert len(between(before, after).kept) == 0


@given(grids, grids)
def test_every_run_is_told_exactly_once(one, other):
    before, after = file(GridSearch(one)), file(GridSearch(other))
    found = between(before, after)
    old = [*found.removed, *(pair.before for pair in (*found.changed, *found.kept))]
    new = [*found.added, *(pair.after for pair in (*found.changed, *found.kept))]
    assert sorted(run.number for run in old) == [run.number for run in expand(before)]
    assert sorted(run.number for run in new) == [run.number for run in expand(after)]
    assert all(pair.before.id == pair.after.id for pair in found.kept)
    assert all(pair.knobs for pair in found.changed)
