"""What is told follows from the file that was asked for, also when nothing is left to train."""

import random

import pytest

from rapidfire_cli.app.ci import Shard, requirements
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.manifest import codec
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.queries import RunRow, overview
from rapidfire_cli.store.ranking import ranking
from tests.app.fake_workers import Cli, FaultRates

CALM = FaultRates()


def grid(lrs: str, top: str = "", epochs: int = 2) -> str:
    knobs = f"epochs: {epochs}, batch_size: 1, optimizer: {{name: SGD, args: {{lr: !list {lrs}}}}}"
    return f"mlspec: none:None\n{top}gridsearch: {{named_metrics: [quality], train: {{{knobs}}}}}\n"


@pytest.fixture
def cli(tmp_path) -> Cli:
    """The metric of a run is its learning rate."""
    return Cli(tmp_path, lambda lr, epoch: lr)


def ranked(cli: Cli) -> list[int]:
    seen = overview(cli.home.journal, alive=False)
    return [place.row.number for place in ranking(seen.rows, seen.metadata.objective)]


def kept(cli: Cli) -> list[str]:
    """What people read, and the runs that the journal lists."""
    seen = overview(cli.home.journal, alive=False)
    return [cli.home.file.read_text(), cli.home.manifest.read_text(), f"{seen}"]


def test_a_file_that_is_changed_and_changed_back_is_told_as_it_was(cli):
    cli.fit(grid("[0.1, 0.2]"), CALM)
    before = kept(cli)
    cli.fit(grid("[0.3, 0.4]"), CALM)
    assert ranked(cli) == [4, 3]
    cli.fit(grid("[0.1, 0.2]"), CALM)
    assert ranked(cli) == [2, 1] and kept(cli) == before


def test_a_subset_is_told_alone_and_the_others_stay_known(cli):
    cli.fit(grid("[0.1, 0.2, 0.3]"), CALM)
    cli.fit(grid("[0.1]"), CALM)
    assert ranked(cli) == [1] and len(cli.home.manifest.read_text().splitlines()) == 2
    cli.fit(grid("[0.1, 0.3]"), CALM)
    assert ranked(cli) == [3, 1]


def test_another_objective_counts_at_once(cli):
    cli.fit(grid("[0.1, 0.2]"), CALM)
    cli.fit(grid("[0.1, 0.2]", "objective: {metric: quality, direction: min}\n"), CALM)
    assert ranked(cli) == [1, 2] and "direction: min" in cli.home.file.read_text()


def test_a_shard_is_told_of_its_share_also_where_that_is_empty(cli):
    text = grid("[0.1, 0.2, 0.3]")
    cli.fit(text, CALM)
    cli.fit(text, CALM, shard=Shard(2, 2))
    assert ranked(cli) == [2]
    cli.fit(text, CALM, shard=Shard(4, 4))
    assert ranked(cli) == []


@pytest.mark.parametrize("seed", range(6))
def test_whatever_was_fitted_before_a_file_is_told_as_in_a_directory_of_its_own(tmp_path, seed):
    draw = random.Random(seed)
    used = Cli(tmp_path / "used", lambda lr, epoch: lr / epoch)
    for version in range(6):
        lrs = draw.sample([0.1, 0.2, 0.3, 0.4, 0.5], draw.randint(1, 4))
        at = draw.choice(["last", "best"])
        top = f"objective: {{metric: quality, direction: {draw.choice(['min', 'max'])}, at: {at}}}\n"
        text, shard = grid(f"{lrs}", draw.choice(["", top])), draw.choice([None, Shard(1, 2), Shard(2, 2)])
        new = Cli(tmp_path / f"new{version}", used.curve)
        told = []
        for cli in (used, new):
            cli.fit(text, CALM, shard=shard)
            seen = overview(cli.home.journal, alive=False)
            places = ranking(seen.rows, seen.objective)
            told.append((seen.objective, [(place.row.config, place.value.mean) for place in places]))
            assert [run.id for run in codec.read_whole(cli.home.manifest.read_text(), "")[1]] == [
                row.id for row in sorted(seen.rows, key=lambda row: order(text, row))
            ]
        assert told[0] == told[1]
        assert used.home.file.read_text() == new.home.file.read_text()


def order(text: str, row: RunRow) -> int:
    """Where the file lists the run's learning rate."""
    return text.index(f"{row.config['train']['optimizer']['args']['lr']}")


def test_another_file_of_the_same_name_is_neither_trained_there_nor_told_of_what_is_there(cli):
    cli.fit(grid("[0.1]"), CALM)
    before = kept(cli)
    other = Cli(cli.path / "other", cli.curve, parent=cli.home.path.parent)
    with pytest.raises(Refusal, match="E609"):
        other.fit(grid("[0.2]"), CALM)
    with pytest.raises(Refusal, match="E609"):
        open_overview(str(other.path / "file.yaml"), str(cli.home.path.parent))
    assert open_overview(str(cli.path / "file.yaml"), str(cli.home.path.parent)).rows
    assert kept(cli) == before


@pytest.mark.parametrize(
    ("top", "required", "at"),
    [
        ("objective: {metric: qualiti, direction: min}\n", (), (str, 2, 21)),
        ("", ("loss<1", "qualiti>0"), ("--require", 1, 1)),
    ],
)
def test_a_metric_that_no_run_has_is_refused_and_changes_nothing_that_is_told(cli, top, required, at):
    cli.fit(grid("[0.1, 0.2]"), CALM)
    before = kept(cli)
    with pytest.raises(Refusal) as refused:
        cli.fit(grid("[0.2]", top), CALM, required=requirements(required))
    first = refused.value.problems[0]
    assert first.code == "E605" and first.span and first.span[1:3] == at[1:]
    assert kept(cli) == before


def test_a_fit_that_is_refused_leaves_nothing_of_what_it_made(cli):
    cli.home.path.mkdir(parents=True)
    (cli.home.path / "notes.txt").write_text("mine")
    (cli.home.runs / "1-x/step-0000000001-epoch-000001").mkdir(parents=True)
    with pytest.raises(Refusal, match="E607"):
        cli.fit(grid("[0.1]"), CALM)
    assert sorted(path.name for path in cli.home.path.iterdir()) == ["notes.txt", "runs"]


def test_a_fresh_start_that_is_refused_puts_back_what_was_there(cli, monkeypatch, capsys):
    cli.fit(grid("[0.1]"), CALM)
    before = kept(cli)

    def refusing(*_: object) -> None:
        raise Refusal([])

    with monkeypatch.context() as patch:
        patch.setattr("rapidfire_cli.app.verbs.fit._probe", refusing)
        with pytest.raises(Refusal):
            cli.fit(grid("[0.2]"), CALM, fresh=True)
    assert [path.name for path in cli.home.path.parent.iterdir()] == ["file"]
    assert kept(cli) == before
    moved = f"moved {cli.home.path}~1 back to {cli.home.path}"
    assert capsys.readouterr().err.splitlines()[-1] == moved
