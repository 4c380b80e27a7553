"""A run that runs out of memory is replaced once, whatever happens to the processes; its bracket goes on."""

import random
from itertools import count

import pytest

from rapidfire_cli.app.brackets import OVER
from rapidfire_cli.app.ci import FailFast, Shard
from rapidfire_cli.durable import failpoints
from rapidfire_cli.engine.signals import StopSignal
from rapidfire_cli.facts import BracketBegun, RunChanged, RunReplaced
from rapidfire_cli.manifest import codec
from rapidfire_cli.store import history
from rapidfire_cli.store.known_runs import KnownRun, known_runs
from rapidfire_cli.store.queries import overview
from rapidfire_cli.terms import OomRetry, Run, RunState
from tests.app.fake_workers import Audience, Cli, FaultRates
from tests.app.test_brackets import CALM, relived, rising
from tests.shares import WHOLE, share

ON_OOM = "{train.batch_size: /2, train.grad_accumulation: '*2'}"


def sha(on_oom: str = ON_OOM, **settings: object) -> str:
    said = {"num_runs": 8, "min_epochs": 1, "max_epochs": 8, "reduction_factor": 2, **settings}
    arguments = "".join(f"  {key}: {value}\n" for key, value in said.items())
    return f"""\
mlspec: none:None
execution: {{on_oom: {on_oom}}}
sha:
{arguments}  metric: quality
  direction: max
  train:
    batch_size: !range {{start: 8, end: 64, dtype: int}}
    optimizer: {{name: SGD, args: {{lr: !range {{start: 0.0, end: 1.0}}}}}}
"""


def median() -> str:
    search = (
        "randomsearch:\n  num_runs: 8\n  early_stopping: {rule: median, metric: quality, direction: max}\n"
    )
    before, _, _ = sha().partition("sha:")
    _, _, after = sha().partition("  train:\n")
    return f"{before}{search}  train:\n    epochs: 8\n{after}"


def grid(batch_sizes: str, epochs: int = 2, on_oom: str = ON_OOM) -> str:
    return f"""\
mlspec: none:None
execution: {{on_oom: {on_oom}}}
gridsearch: {{train: {{epochs: {epochs}, batch_size: !list {batch_sizes},
  optimizer: {{name: SGD, args: {{lr: 0.5}}}}}}}}
"""


def stood(cli: Cli) -> dict[int, KnownRun]:
    return {one.run.number: one for one in known_runs(cli.home.journal, 1)}


def root(cli: Cli, number: int) -> int:
    """The run of the file whose place, in the end, the run takes."""
    origin = stood(cli)[number].run.origin
    return root(cli, origin.run) if origin else number


def outcome(cli: Cli) -> set[tuple[int, int, str, RunState]]:
    """What became of every run, whatever numbers replacements were given."""
    return {
        (root(cli, number), one.run.leaf["train"]["batch_size"], one.run.id, one.state)
        for number, one in stood(cli).items()
    }


def judged(cli: Cli) -> list[dict[int, bool]]:
    """Each decision by the runs of the file."""
    return [
        {root(cli, verdict.run): verdict.promoted for verdict in decision.verdicts}
        for decision in cli.decisions
    ]


def check(cli: Cli) -> None:
    """Nobody is replaced twice, every end is known, and the ledger can be relived."""
    known = stood(cli)
    origins = [one.run.origin.run for one in known.values() if one.run.origin]
    assert len(origins) == len(set(origins))
    assert all(known[number].state is RunState.FAILED for number in origins)
    assert all(one.state in OVER for number, one in known.items() if number not in origins)
    assert relived(cli) == cli.decisions
    listed = {run.number for run in codec.read_whole(cli.home.manifest.read_text(), "m")[1]}
    assert listed == known.keys()


def test_a_changed_run_takes_the_place_of_one_that_finds_no_memory_until_one_fits(tmp_path):
    cli = Cli(tmp_path, rising, fits=20)
    cli.fit(grid("[16, 64]"), CALM)
    first, second, third, last = stood(cli).values()
    assert [one.state for one in (first, second, third, last)] == [
        *(RunState.COMPLETED, RunState.FAILED, RunState.FAILED, RunState.COMPLETED)
    ]
    assert (third.run.origin, last.run.origin) == (OomRetry(2), OomRetry(3))
    assert last.run.leaf["train"]["batch_size"] == 16
    assert last.run.leaf["train"]["grad_accumulation"] == 4
    assert (last.run.seed, last.run.replicate, last.run.group) == (42, 0, 1)
    check(cli)


def test_each_retry_adds_a_line_to_the_manifest_and_rewrites_none(tmp_path, monkeypatch):
    calls: list[tuple[str, str]] = []
    monkeypatch.setattr(
        failpoints, "hook", lambda operation, *paths: calls.append((operation, paths[-1].name))
    )
    Cli(tmp_path, rising, fits=20).fit(grid("[16, 64]"), CALM)
    assert calls.count(("write", "manifest.jsonl")) == 2
    assert calls.count(("rename", "manifest.jsonl")) == 1


def test_what_was_replaced_is_not_trained_again(tmp_path):
    cli = Cli(tmp_path, rising, fits=20)
    cli.fit(grid("[16, 64]"), CALM)
    before, seen = stood(cli), len(cli.past)
    cli.fits = 1000
    cli.fit(grid("[16, 64]"), CALM)
    assert (stood(cli), len(cli.past)) == (before, seen)


def test_where_the_changes_can_do_no_more_the_run_fails_and_says_so(tmp_path):
    cli = Cli(tmp_path, rising, fits=0)
    cli.fit(grid("[3]"), CALM)
    *_, last = overview(cli.home.journal, alive=False).rows
    assert (last.number, last.state) == (2, RunState.FAILED)
    assert last.error == "out of memory; on_oom cannot change it further: train.batch_size is 1"
    cli.fits = 1
    cli.fit(grid("[3]"), CALM)
    assert stood(cli)[2].state is RunState.COMPLETED, "it is tried again, as any run that failed"


def test_a_run_is_replaced_so_many_times_and_no_more(tmp_path):
    cli = Cli(tmp_path, rising, fits=0)
    cli.fit(grid("[3]", on_oom="{train.optimizer.args.lr: /2}"), CALM)
    *_, last = overview(cli.home.journal, alive=False).rows
    assert (last.number, last.error) == (21, "out of memory; on_oom has already changed it 20 times")


def test_a_replacement_leaves_with_its_original_and_comes_back_with_it(tmp_path):
    cli = Cli(tmp_path, rising, fits=20)
    cli.fit(grid("[16, 64]"), CALM)
    cli.fit(grid("[16, 8]"), CALM)
    assert [row.number for row in overview(cli.home.journal, alive=False).rows] == [1, 5]
    cli.fit(grid("[16, 64, 32]"), CALM)
    rows = overview(cli.home.journal, alive=False).rows
    origins = {row.number: row.origin.run if row.origin else None for row in rows}
    assert origins == {1: None, 2: None, 3: 2, 4: 3, 6: None, 7: 6}


def test_a_replacement_is_of_its_originals_shard_and_takes_no_listed_runs_number(tmp_path):
    cli = Cli(tmp_path, rising, fits=20)
    cli.fit(grid("[32, 16]"), CALM, shard=Shard(1, 2))
    cli.fit(grid("[32, 16]"), CALM)
    assert {number: one.run.origin for number, one in stood(cli).items()} == {
        1: None,
        2: None,
        3: OomRetry(1),
    }
    check(cli)


def test_a_replacement_trains_in_its_originals_bracket(tmp_path):
    cli, roomy = Cli(tmp_path / "full", rising, fits=20), Cli(tmp_path / "roomy", rising)
    cli.fit(sha(), CALM)
    roomy.fit(sha(), CALM)
    assert any(isinstance(event, RunReplaced) for event in cli.past)
    assert judged(cli) == judged(roomy)
    check(cli)


def test_a_run_with_a_result_counts_as_failed_and_its_replacement_trains_apart_to_the_end(tmp_path):
    cli = Cli(tmp_path, rising, fits=20, fills=3)
    cli.fit(sha(), CALM)
    apart = [event for event in cli.past if isinstance(event, RunReplaced) and event.bracket]
    assert apart and all(map(history.is_apart, apart))
    known = stood(cli)
    for event in apart:
        line = [one for number, one in known.items() if root(cli, number) == root(cli, event.run)]
        assert line[-1].state is RunState.COMPLETED and line[-1].epoch == 8 and line[-1].bracket is None
    check(cli)
    before = known
    assert cli.fit(sha(), CALM) and stood(cli) == before


@pytest.mark.parametrize("fills", [1, 3])
def test_a_fit_killed_at_any_moment_ends_as_if_nothing_had_been(tmp_path, fills):
    calm = Cli(tmp_path / "calm", rising, fits=20, fills=fills)
    calm.fit(sha(num_runs=4), CALM, workers=1)
    for moment in count(1, 1 if WHOLE else 4):
        cli = Cli(tmp_path / f"{moment}", rising, fits=20, fills=fills)
        killed = not cli.fit(sha(num_runs=4), FaultRates(moments=moment), workers=1)
        assert cli.fit(sha(num_runs=4), CALM, workers=1)
        assert outcome(cli) == outcome(calm)
        assert judged(cli) == judged(calm)
        check(cli)
        if not killed:
            return


@pytest.mark.parametrize("seed", share(range(12), 3))
def test_whatever_dies_nobody_is_replaced_twice_or_lost(tmp_path, seed):
    chance = random.Random(seed)
    cli = Cli(tmp_path, rising, fits=chance.choice([5, 20, 40]), fills=chance.randint(1, 4))
    text = chance.choice([sha(), sha(mode="async"), median()])
    cli.fit_through(text, FaultRates(seed, deaths=0.05, saves=0.3, crashes=0.1), workers=chance.randint(1, 3))
    check(cli)


def test_a_changed_rule_takes_replacements_along(tmp_path):
    cli = Cli(tmp_path, rising, fits=20)
    cli.fit(sha(), FaultRates(decisions=1))
    cli.fit(sha(reduction_factor=4), CALM)
    begun = [event for event in cli.past if isinstance(event, BracketBegun)]
    replaced = {event.run for event in cli.past if isinstance(event, RunReplaced)}
    assert len(begun) == 2 and not replaced & set(begun[1].runs)
    check(cli)


def test_fail_fast_means_runs_that_nobody_replaces():
    stop = StopSignal()
    audience = FailFast(Audience(CALM, []), stop)
    by = Run(2, "0" * 16, 1, "{}", 42, origin=OomRetry(1))
    audience.tell([RunReplaced(1, by), RunChanged(1, RunState.FAILED, "out of memory")])
    assert not stop.asked()
    audience.tell([RunChanged(2, RunState.FAILED, "out of memory")])
    assert stop.asked()
