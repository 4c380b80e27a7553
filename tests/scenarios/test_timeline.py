"""`expand --slots` says how the runs of a file would take their turns."""

import json

FILE = """\
config_group:
- sha: {num_runs: 8, min_epochs: 1, max_epochs: 8, reduction_factor: 2, metric: loss, direction: %s, mode: %s,
        train: {batch_size: 32, optimizer: {name: Adam, args: {lr: !range [0.001, 0.1]}}}}
- config: {train: {epochs: 4, batch_size: 12, optimizer: {name: Adam, args: {lr: 0.1}}}}
"""
MEDIAN = """\
execution: {chunks: 4}
gridsearch:
  early_stopping: {rule: median, metric: loss, direction: min, min_epochs: 2}
  train: {epochs: 5, batch_size: !list [1, 2, 3, 4, 5, 6], optimizer: {name: Adam, args: {lr: 0.1}}}
"""


def timeline(cli, text, slots):
    file = cli.write(text)
    return json.loads(cli.run("expand", str(file), "--slots", str(slots), "-o", "json").stdout)["timeline"]


def test_the_rungs_the_work_and_the_time_of_successive_halving(cli):
    for direction in ("min", "max"):
        found = timeline(cli, FILE % (direction, "sync"), 4)
        assert [rung["runs"] for rung in found["rungs"]] == [8, 4, 2]
        assert found["run_epochs"] == sum(found["busy"]) == 20 + 4
        assert (found["slots"], len(found["busy"])) == (4, 4)
        assert found["idle"] == 1 - 24 / (4 * found["makespan"])


def test_more_slots_than_work_take_as_long_as_the_longest_run(cli):
    assert timeline(cli, FILE % ("min", "sync"), 9)["makespan"] == 8


def test_async_halving_trains_as_much_where_the_best_come_first(cli):
    assert timeline(cli, FILE % ("max", "async"), 1)["run_epochs"] == 24


def test_the_median_rule_ends_the_worse_half_early(cli):
    found = timeline(cli, MEDIAN, 1)
    assert found["makespan"] == found["run_epochs"] == 3 * 5 + 3 * 2
    assert found["idle"] == 0


def test_under_patience_a_dry_run_takes_every_run_to_its_end(cli):
    for direction in ("min", "max"):
        rule = f"rule: patience, metric: loss, direction: {direction}, epochs: 1, min_delta: 3"
        found = timeline(
            cli, MEDIAN.replace("rule: median, metric: loss, direction: min, min_epochs: 2", rule), 1
        )
        assert found["run_epochs"] == 6 * 5


def test_people_read_it_in_a_line(cli):
    file = cli.write(FILE % ("min", "sync"))
    said = cli.run("expand", str(file), "--slots", "4").stdout
    assert "4 slots: 24 run-epochs in " in said
    assert "% idle" in said
