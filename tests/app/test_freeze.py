"""`freeze` writes a file that is read again, in the notation of its suffix."""

import pytest

from rapidfire_cli.app.errors import explain
from rapidfire_cli.app.experiments import load_experiment
from rapidfire_cli.app.files import Given
from rapidfire_cli.app.verbs.freeze import freeze
from rapidfire_cli.problems import Refusal
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
