"""Numbers that stay."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.numbering import number, successors
from rapidfire_cli.syntax.ast import Config, GridSearch, List, RandomSearch, Range
from rapidfire_cli.terms import OomRetry, Run
from tests.manifest.trees import file

names = st.lists(st.sampled_from("abcde"), max_size=8)


def runs(ids: list[str]) -> tuple[Run, ...]:
    return tuple(Run(place, name, 1, "{}", 42) for place, name in enumerate(ids, 1))


def listed(ids: list[str], known: list[str]) -> list[int]:
    return [run.number for run in number(runs(ids), runs(known)).listed]


def test_a_new_experiment_numbers_from_one():
    assert listed(["a", "b", "c"], known=[]) == [1, 2, 3]


def test_a_known_run_keeps_its_number_wherever_it_stands():
    assert listed(["c", "a"], known=["a", "b", "c"]) == [3, 1]


def test_a_new_run_takes_the_next_free_number():
    assert listed(["x", "a", "y"], known=["a", "b", "c"]) == [4, 1, 5]


def test_a_new_run_keeps_the_number_it_comes_with_where_nobody_has_it():
    known = [Run(2, "b", 1, "{}", 42), Run(4, "d", 1, "{}", 42)]
    assert [run.number for run in number(runs(["a", "b", "c", "d", "e"]), known).listed] == [1, 2, 3, 4, 5]
    assert [run.number for run in number(runs(["a", "x", "c", "b"]), known).listed] == [1, 5, 3, 2]


def test_runs_no_longer_listed_are_reported_and_their_numbers_stay_taken():
    numbering = number(runs(["x"]), runs(["a", "b"]))
    assert [run.id for run in numbering.unlisted] == ["a", "b"]
    assert [run.number for run in numbering.listed] == [3]


def test_equal_runs_match_one_by_one():
    assert listed(["a", "a", "a"], known=["b", "a", "a"]) == [2, 3, 4]


def test_a_listed_run_belongs_to_the_group_that_lists_it_now():
    (run,) = number([Run(1, "a", 2, "{}", 42)], [Run(9, "a", 1, "{}", 42)]).listed
    assert (run.number, run.group) == (9, 2)


@given(names, names)
def test_no_number_is_given_twice_and_none_is_lost(ids, known):
    numbering = number(runs(ids), runs(known))
    every = Counter(run.number for run in (*numbering.listed, *numbering.unlisted))
    assert set(every.values()) <= {1}
    assert set(range(1, len(known) + 1)) <= every.keys()
    assert [run.id for run in numbering.listed] == ids


@given(names)
def test_an_unchanged_file_keeps_every_number(ids):
    assert number(runs(ids), runs(ids)).listed == runs(ids)


def test_widening_a_grid_and_a_search_keeps_what_was_trained():
    lr = Range(0.0, 1.0, "float")
    before = list(expand(file(GridSearch({"a": List((1, 2))}), RandomSearch({"lr": lr}, 3))))
    after = number(
        expand(file(Config({"b": 1}), GridSearch({"a": List((1, 3, 2))}), RandomSearch({"lr": lr}, 4))),
        before,
    )
    assert [run.number for run in after.listed] == [6, 1, 7, 2, 3, 4, 5, 8]
    assert after.unlisted == ()
    assert [replace(run, group=1) for run in after.listed if run.id == before[0].id] == before[:1]


def test_replacements_match_no_listed_run_and_come_with_their_original():
    known = [*runs(["a", "b"]), replace(runs(["x", "x", "c"])[2], origin=OomRetry(2))]
    known.append(replace(known[-1], number=4, id="d", origin=OomRetry(3)))
    listed = number(runs(["a", "b", "c"]), known).listed
    assert [run.number for run in listed] == [1, 2, 5]
    assert [run.number for run in successors(listed, known)] == [3, 4]
    assert successors(listed[:1], known) == ()
