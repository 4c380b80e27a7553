"""Population based training without rounds: whole fits with workers that only pretend to train."""

from collections import Counter

import pytest

from rapidfire_cli.app.files import Given
from rapidfire_cli.app.verbs.expand import Shown, expand
from rapidfire_cli.app.verbs.replay import Setting, replay
from rapidfire_cli.app.verbs.why import why
from rapidfire_cli.manifest import codec
from rapidfire_cli.terms import Fork, RunState
from rapidfire_cli.view.formats import Output
from tests.app.fake_workers import Cli, FaultRates
from tests.app.test_forking import EPOCHS, FORKS, POPULATION, ROUNDS, born, forks, known, place, text
from tests.shares import share


def unhurried() -> str:
    return f"seed: 8\n{text(more='mode: async')}"  # with which forks are born in most orders


def check(cli: Cli) -> None:
    """What holds of every population that was trained to its end, whatever happened meanwhile."""
    runs, made = known(cli), forks(cli)
    places = Counter((origin.epochs, origin.place) for _, origin in made)
    assert {*places.values()} <= {1}, "a fork was born twice"
    assert {place for _, place in places} <= {*range(1, FORKS + 1)}
    replaced = {origin.instead for _, origin in made}
    assert len(replaced) == len(made) <= ROUNDS * FORKS
    assert {number for number, one in runs.items() if one.state is RunState.PRUNED} == replaced
    assert Counter(one.state for one in runs.values())[RunState.COMPLETED] == POPULATION
    judged = {(decision.epochs, each.run): each for decision in cli.decisions for each in decision.verdicts}
    for one, origin in made:
        source = runs[origin.run].run
        assert one.run.warm_start is not None and one.run.warm_start.run == source.id
        offset = EPOCHS - source.leaf["train"]["epochs"]
        assert one.run.warm_start.epoch + offset == origin.epochs
        assert one.run.leaf["train"]["epochs"] == EPOCHS - origin.epochs
        assert judged[origin.epochs, source.number].promoted
        assert not judged[origin.epochs, origin.instead].promoted
    home, parent = str(cli.home.path), str(cli.home.path.parent)
    assert replay(home, parent, Setting(), 1, Output.TABLE) == 0, "a decision or a fork does not follow"
    assert len([*cli.home.runs.glob("*/kept/*")]) <= POPULATION, "ends are kept of which no fork can be made"


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_each_run_is_judged_as_it_ends_its_interval_and_forks_take_places(tmp_path, workers):
    cli = place(tmp_path)
    assert cli.fit(unhurried(), FaultRates(seed=workers), workers)
    check(cli)
    assert forks(cli)
    levels = Counter(decision.epochs for decision in cli.decisions)
    assert levels == {2: POPULATION, 4: POPULATION}, "a decision for each run at each of its intervals"
    assert [decision.known for decision in cli.decisions if decision.epochs == 2] == [1, 2, 3, 4, 5, 6]


def test_with_one_worker_the_forks_are_reproducible(tmp_path):
    first, second = place(tmp_path / "first"), place(tmp_path / "second")
    assert first.fit(unhurried(), FaultRates(), 1) and second.fit(unhurried(), FaultRates(seed=9), 1)
    assert born(first) == born(second) and first.decisions == second.decisions


@pytest.mark.parametrize("seed", share(range(40), 5))
def test_whatever_dies_no_fork_is_born_twice_and_all_follow_from_what_was_decided(tmp_path, seed):
    cli = place(tmp_path)
    workers = 1 + seed % 4
    cli.fit_through(unhurried(), FaultRates(seed=seed, crashes=0.03, deaths=0.02, saves=0.5), workers)
    check(cli)


def listed_forks(cli: Cli) -> dict[str, Fork]:
    """The forks in the manifest, by id, whether the journal knows them or not."""
    if not cli.home.manifest.is_file():
        return {}
    _, runs = codec.read_whole(codec.without_torn_line(cli.home.manifest.read_text()), "manifest")
    return {run.id: run.origin for run in runs if isinstance(run.origin, Fork)}


def test_a_fork_that_is_listed_when_the_fit_is_killed_follows_from_a_decision_that_is_kept(tmp_path):
    listed = False
    for moment in share(range(1, 99), 3):
        cli = place(tmp_path / f"{moment}")
        faults = FaultRates(moments=moment)
        if cli.fit(unhurried(), faults, 3):
            break
        found = listed_forks(cli)
        ends = {(each.epochs, verdict.run) for each in cli.decisions for verdict in each.verdicts}
        assert {(origin.epochs, origin.instead) for origin in found.values()} <= ends, "a decision was lost"
        assert cli.fit(unhurried(), FaultRates(seed=moment), 3)
        check(cli)
        assert found.keys() <= {one.run.id for one in known(cli).values()}
        listed |= bool(found)
    assert listed and moment > POPULATION


def test_a_run_that_fails_is_replaced_by_a_fork(tmp_path):
    cli = place(tmp_path, fails=0.03)
    assert cli.fit(unhurried(), FaultRates(), 2)
    failed = {number for number, one in known(cli).items() if one.state is RunState.FAILED}
    assert failed and failed & {origin.instead for _, origin in forks(cli)}
    before = born(cli)
    assert cli.fit(unhurried(), FaultRates(), 2)
    assert [each for each in born(cli) if each not in before] == [], "what decisions counted is not retried"


def test_where_every_run_fails_the_fit_ends(tmp_path):
    cli = place(tmp_path, fails=0.0)
    assert cli.fit(unhurried(), FaultRates(), 2)
    assert {one.state for one in known(cli).values()} == {RunState.FAILED} and not forks(cli)


def test_the_plan_says_how_many_forks_there_are_at_most(tmp_path, capsys):
    path = tmp_path / "file.yaml"
    path.write_text(unhurried())
    assert expand(Given(path), False, None, Shown()) == 0
    said = capsys.readouterr().out
    assert "and up to 4 forks: at most 2 after each of 2 intervals of 2 epochs" in said
    assert "36 run-epochs" in said
    assert expand(Given(path), False, None, Shown(slots=3)) == 0
    assert "3 slots: 36 run-epochs" in capsys.readouterr().out


def test_the_ledger_says_what_was_known_when_a_run_was_judged(tmp_path, capsys):
    cli = place(tmp_path)
    assert cli.fit(unhurried(), FaultRates(), 2)
    home, parent = str(cli.home.path), str(cli.home.path.parent)
    one, origin = forks(cli)[0]
    assert why(f"{origin.instead}", home, parent, Output.TABLE) == 0
    said = capsys.readouterr().out
    assert f"was pruned at epoch {origin.epochs}: quality " in said and " known then, cut after rank " in said
    assert f"run {one.run.number} took its place" in said
    assert why(f"{one.run.number}", home, parent, Output.TABLE) == 0
    assert f"it was forked from run {origin.run} after epoch {origin.epochs}" in capsys.readouterr().out
