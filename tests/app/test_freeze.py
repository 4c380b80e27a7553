"""`freeze` writes a file that is read again, in the notation of its suffix."""

import pytest

from rapidfire_cli.app.control.selection import Selection
from rapidfire_cli.app.errors import explain
from rapidfire_cli.app.experiments import load_experiment
from rapidfire_cli.app.files import Given
from rapidfire_cli.app.verbs.freeze import freeze
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.terms import Run, RunState
from tests.app.fake_workers import Cli, FaultRates
from tests.app.test_brackets import rising

FILE = """\
mlspec: none:None
gridsearch:
  train: {epochs: 2, batch_size: 1, optimizer: {name: SGD, args: {lr: !list [0.5, 0.25]}}}
"""


def test_the_suffix_says_the_notation_and_a_directory_is_refused(tmp_path, capsys):
    cli = Cli(tmp_path, rising)
    cli.fit(FILE, FaultRates())
    parent = str(tmp_path / "experiments")
    for name in ("frozen.yaml", "frozen.json", "frozen.toml"):
        assert freeze(None, parent, tmp_path / name) == 0
        frozen = load_experiment(Given(tmp_path / name), parent).runs
        assert [run.leaf["train"]["optimizer"]["args"]["lr"] for run in frozen] == [0.5, 0.25]
    with pytest.raises(Refusal, match="is a directory"):
        freeze(None, parent, tmp_path)
    with pytest.raises(FileNotFoundError) as missing:
        freeze(None, parent, tmp_path / "missing" / "frozen.yaml")
    explain(missing.value)
    assert capsys.readouterr().err.endswith(
        f"error: {tmp_path}/missing/frozen.yaml: No such file or directory\n"
    )


CHAIN = """\
mlspec: none:None
pbt:
  population: 4
  perturb_every: 1
  metric: quality
  direction: max
  train:
    epochs: 3
    batch_size: 1
    optimizer: {name: SGD, args: {lr: !range {start: 0.001, end: 1.0, log: true}}}
"""


def test_the_selected_runs_are_written_with_those_whose_weights_they_begin_with(tmp_path, capsys):
    cli = Cli(tmp_path, lambda lr, epoch: lr, keeps=True, idle=300)
    assert cli.fit(CHAIN, FaultRates(), 1)
    parent, file = str(tmp_path / "experiments"), tmp_path / "frozen.yaml"
    runs = {one.run.number: one for one in known_runs(cli.home.journal, 1)}
    fork = max(number for number, one in runs.items() if one.state is RunState.COMPLETED)
    line, start = [runs[fork].run], runs[fork].run.warm_start
    while start:
        line = [next(one.run for one in runs.values() if one.run.id == start.run), *line]
        start = line[0].warm_start
    assert len(line) > 1

    def written(selection: Selection) -> list[float]:
        assert freeze(None, parent, file, True, selection) == 0
        frozen = load_experiment(Given(file), parent).runs
        return [run.leaf["train"]["optimizer"]["args"]["lr"] for run in frozen]

    def lr(run: Run) -> float:
        rate: float = run.leaf["train"]["optimizer"]["args"]["lr"]
        return rate

    assert written(Selection((f"{fork}",))) == [lr(run) for run in sorted(line, key=lambda run: run.number)]
    assert f"{len(line) - 1} of them for the weights that others begin with" in capsys.readouterr().err
    above = sorted(map(lr, (one.run for one in runs.values() if one.run.origin is None)))[-1]
    assert written(Selection((), where=f"train.optimizer.args.lr >= {above!r}"))[0] == above
    file.unlink()
    assert freeze(None, parent, file, selection=Selection((f"{fork}",)), dry_run=True) == 0
    assert f"dry run: would write {file}: {len(line)} runs" in capsys.readouterr().err and not file.exists()


def test_a_named_run_that_no_file_reproduces_is_refused(tmp_path):
    cli = Cli(tmp_path, lambda lr, epoch: lr, keeps=True, idle=300)
    assert cli.fit(CHAIN, FaultRates(), 1)
    pruned = next(run for run, state in cli.states.items() if state is RunState.PRUNED)
    parent, file = str(tmp_path / "experiments"), tmp_path / "frozen.yaml"
    with pytest.raises(Refusal, match=f"run {pruned} is pruned, so no file reproduces it"):
        freeze(None, parent, file, selection=Selection((f"{pruned}",)))
    with pytest.raises(Refusal, match="does not exist"):
        freeze(None, parent, file, selection=Selection(("99",)))
    assert not file.exists()
