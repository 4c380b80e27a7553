"""Population based training: whole fits with workers that only pretend to train."""

import json
import re
import sqlite3
from contextlib import closing

import pytest

from rapidfire_cli.app.ci import Shard
from rapidfire_cli.app.verbs.replay import Setting, replay
from rapidfire_cli.app.verbs.show import show
from rapidfire_cli.app.verbs.status import status
from rapidfire_cli.app.verbs.why import why
from rapidfire_cli.facts import Decision
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.known_runs import KnownRun, known_runs
from rapidfire_cli.terms import Fork, RunState
from rapidfire_cli.view.formats import Output
from tests.app.fake_workers import Cli, FaultRates
from tests.shares import share

POPULATION, EPOCHS, EVERY, ROUNDS = 6, 6, 2, 2
FORKS = 2  # a third of six


def text(epochs: int = EPOCHS, more: str = "") -> str:
    return f"""mlspec: none:None
pbt:
  population: {POPULATION}
  perturb_every: {EVERY}
  quantile: 0.34
  metric: quality
  direction: max
  {more}
  train:
    epochs: {epochs}
    batch_size: !list [8, 16, 32]
    optimizer: {{name: SGD, args: {{lr: !range {{start: 0.001, end: 1.0, log: true}}}}}}
"""


def place(path, fails: float = 9.9) -> Cli:
    """A place whose runs are best at a learning rate of 0.1."""
    return Cli(path, lambda lr, epoch: None if lr > fails else -abs(lr - 0.1), keeps=True, idle=300)


def known(cli: Cli) -> dict[int, KnownRun]:
    return {one.run.number: one for one in known_runs(cli.home.journal, 1)}


def born(cli: Cli) -> list[object]:
    """All runs and how they ended."""
    return [(one.run, one.state, one.epoch) for one in known(cli).values()]


def forks(cli: Cli) -> list[tuple[KnownRun, Fork]]:
    return [(one, one.run.origin) for one in known(cli).values() if isinstance(one.run.origin, Fork)]


def lr(one: KnownRun) -> float:
    rate: float = one.run.leaf["train"]["optimizer"]["args"]["lr"]
    return rate


def test_after_each_round_forks_of_the_best_take_the_places_of_the_worst(tmp_path):
    cli = place(tmp_path)
    assert cli.fit(text(), FaultRates(), 1)
    runs = known(cli)
    assert len(runs) == POPULATION + ROUNDS * FORKS
    assert [(origin.epochs, origin.place) for _, origin in forks(cli)] == [(2, 1), (2, 2), (4, 1), (4, 2)]
    first, second = cli.decisions
    for decision in (first, second):
        ended = [verdict for verdict in decision.verdicts if not verdict.promoted]
        made = [origin for _, origin in forks(cli) if origin.epochs == decision.epochs]
        assert [origin.instead for origin in made] == [verdict.run for verdict in ended]
        assert [verdict.rank for verdict in ended] == [5, 6]
        best = {verdict.run for verdict in decision.verdicts if verdict.rank <= FORKS}
        assert {origin.run for origin in made} <= best
    for one, origin in forks(cli):
        source = runs[origin.run].run
        assert one.run.warm_start is not None and one.run.warm_start.run == source.id
        offset = EPOCHS - source.leaf["train"]["epochs"]
        assert one.run.warm_start.epoch + offset == origin.epochs
        assert one.run.leaf["train"]["epochs"] == EPOCHS - origin.epochs
        assert one.run.seed != source.seed
    replaced = {origin.instead for _, origin in forks(cli)}
    assert {number for number, one in runs.items() if one.state is RunState.PRUNED} == replaced
    assert {one.state for number, one in runs.items() if number not in replaced} == {RunState.COMPLETED}


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_forks_do_not_depend_on_how_many_workers_there_are_nor_on_who_is_first(tmp_path, workers):
    whole, cli = place(tmp_path / "whole"), place(tmp_path / "cli")
    assert whole.fit(text(), FaultRates(), 1)
    cli.fit_through(text(), FaultRates(seed=workers, crashes=0.02, deaths=0.02, saves=0.5), workers)
    assert born(cli) == born(whole)
    assert sorted(cli.decisions, key=repr) == sorted(whole.decisions, key=repr)


def test_wherever_a_fit_is_killed_the_forks_are_the_same_and_none_is_born_twice(tmp_path):
    cli = place(tmp_path / "whole")
    assert cli.fit(text(), FaultRates(), 1)
    whole = born(cli)
    for moment in share(range(1, 99), 7):
        cli = place(tmp_path / f"{moment}")
        ended = cli.fit(text(), FaultRates(moments=moment), 1)
        if not ended:
            assert cli.fit(text(), FaultRates(), 1)
        assert born(cli) == whole, moment
        if ended:
            break
    assert ended and moment > POPULATION


def test_a_run_that_fails_is_replaced_by_a_fork(tmp_path):
    cli = place(tmp_path, fails=0.03)
    assert cli.fit(text(), FaultRates(), 2)
    failed = {number for number, one in known(cli).items() if one.state is RunState.FAILED}
    replaced = {origin.instead for _, origin in forks(cli)}
    assert failed and failed & replaced
    assert len(forks(cli)) == ROUNDS * FORKS
    before = born(cli)
    assert cli.fit(text(), FaultRates(), 2)
    assert born(cli) == before, "what decisions have counted is not tried again"


def test_where_every_run_fails_nothing_is_forked_and_the_fit_ends(tmp_path):
    cli = place(tmp_path, fails=0.0)
    assert cli.fit(text(), FaultRates(), 2)
    assert {one.state for one in known(cli).values()} == {RunState.FAILED}
    assert not forks(cli)


def test_the_ends_of_a_round_are_kept_until_the_next_round_is_over(tmp_path):
    cli = place(tmp_path)
    assert cli.fit(text(epochs=8), FaultRates(), 1)
    kept = {path.name for path in cli.home.runs.glob("1-*/kept/*")}
    rounds = {path.parents[1].name: path.name for path in cli.home.runs.glob("*/kept/*")}
    assert len(rounds) == len([*cli.home.runs.glob("*/kept/*")]) <= POPULATION
    assert kept <= {"step-0000000006-epoch-000006"}


def test_a_fork_that_finds_no_weights_fails_and_its_place_is_taken(tmp_path, monkeypatch):
    cli = place(tmp_path)
    cli.keeps = False
    monkeypatch.setattr("rapidfire_cli.app.forking.UNFINISHED", frozenset())
    assert cli.fit(text(), FaultRates(), 1)
    assert {one.state for one, _ in forks(cli)} == {RunState.FAILED}
    assert [origin.instead for _, origin in forks(cli)][2:] == [7, 8]


def test_only_the_named_knobs_are_perturbed(tmp_path):
    cli = place(tmp_path)
    assert cli.fit(text(more="perturb: train.batch_size"), FaultRates(), 1)
    runs = known(cli)
    assert all(lr(one) == lr(runs[origin.run]) for one, origin in forks(cli))
    assert any(one.run.config != runs[origin.run].run.config for one, origin in forks(cli))


def test_the_ledger_says_where_a_fork_came_from(tmp_path, capsys):
    cli = place(tmp_path)
    assert cli.fit(text(), FaultRates(), 2)
    home, parent = str(cli.home.path), str(cli.home.path.parent)
    one, origin = forks(cli)[0]
    assert why(f"{one.run.number}", home, parent, Output.TABLE) == 0
    said = capsys.readouterr().out
    assert f"it was forked from run {origin.run} after epoch 2 of the population" in said
    assert f"in place of run {origin.instead}" in said
    assert f"it began with the weights of run {origin.run} after epoch 2" in said
    assert "no early stopping" not in said
    assert why(f"{origin.instead}", home, parent, Output.TABLE) == 0
    said = capsys.readouterr().out
    assert "was pruned at epoch 2: quality " in said and "rank 5 of 6, cut after rank 4" in said
    assert f"run {one.run.number} took its place" in said
    assert show(f"{origin.run}", home, parent, Output.TABLE) == 0
    assert "was forked as run" in capsys.readouterr().out
    assert show(f"{one.run.number}", home, parent, Output.TABLE) == 0
    assert f"began with the weights of run {origin.run} after epoch 2" in capsys.readouterr().out


def waiting(lines: list[str]) -> set[int]:
    """The runs that such lines name: `runs 1-3, 5 and 7 wait for the end of round 1 …`."""
    parts = [
        part
        for line in lines
        if " wait" in line
        for part in re.findall(r"[\d-]+", line[line.index(": ") : line.index(" wait")])
    ]
    ends = [[*map(int, part.split("-"))] for part in parts]
    return {run for each in ends for run in range(each[0], each[-1] + 1)}


def test_status_and_why_say_what_a_population_waits_for(tmp_path, capsys):
    cli = place(tmp_path)
    home, parent = str(cli.home.path), str(cli.home.path.parent)
    said = set()
    for moment in range(1, 40):
        if cli.fit(text(), FaultRates(moments=moment), 1):
            break
        if not cli.home.journal.is_file():
            continue
        assert status(home, parent, False, Output.TABLE) == 0
        below = [line for line in capsys.readouterr().out.splitlines() if line.startswith("population")]
        assert all(line.endswith("; rerun `rapidfire fit FILE` to continue") for line in below)
        said |= {line.partition(": ")[2].partition("; rerun")[0] for line in below}
        for number in (1, 2):
            assert why(f"{number}", home, parent, Output.TABLE) == 0
            line = capsys.readouterr().out.splitlines()[0]
            assert ("waits for the end of round" in line) == (number in waiting(below)), (line, below)
    assert "run 1 waits for the end of round 1, after 2 epochs (1 of 6 results known)" in said
    assert any(each.startswith("runs 1-5 wait for the end of round 1") for each in said), said
    assert any(each.endswith("2 forks are not born yet") for each in said), said


def test_replay_makes_every_fork_again(tmp_path, capsys):
    cli = place(tmp_path)
    cli.fit_through(text(), FaultRates(seed=2, crashes=0.02, saves=0.5), 2)
    home, parent = str(cli.home.path), str(cli.home.path.parent)
    assert replay(home, parent, Setting(), 1, Output.TABLE) == 0
    said = capsys.readouterr().out
    assert "bracket 1: 10 runs by quality; 2 decisions, all follow from the recorded results" in said
    assert "population in group 1: 4 forks, all follow from the recorded decisions" in said
    assert replay(home, parent, Setting(), 1, Output.JSON) == 0
    [found] = json.loads(capsys.readouterr().out)["populations"]
    assert found == {"group": 1, "forks": 4, "differing": [], "changed": [], "agrees": True}
    with closing(sqlite3.connect(cli.home.journal)) as db, db:
        db.execute("UPDATE runs SET seed = seed + 1 WHERE number = 8")
    assert replay(home, parent, Setting(), 1, Output.TABLE) == 1
    assert "those of run 8 do NOT follow" in capsys.readouterr().out


def test_other_settings_begin_another_population(tmp_path):
    cli = place(tmp_path)
    assert cli.fit(text(), FaultRates(), 1)
    assert cli.fit(text(epochs=4), FaultRates(), 1)
    names = {origin.population for _, origin in forks(cli)}
    assert len(names) == 2
    assert len([one for one in cli.past if isinstance(one, Decision)]) == 3


def test_a_population_cannot_be_sharded(tmp_path):
    with pytest.raises(Refusal, match="a `pbt` cannot be trained in shards"):
        place(tmp_path).fit(text(), FaultRates(), 1, Shard(1, 2))
