"""What completion offers for what was typed so far."""

import subprocess
import sys
from contextlib import closing

import pytest

from rapidfire_cli.app.completion.answering import WORDS, WORDS_AND_FILES, answer
from rapidfire_cli.app.completion.bash_line import split
from rapidfire_cli.facts import RunChanged
from rapidfire_cli.terms import RunState
from tests.store.sweep import enrolled, epoch

KNOBS = ["train.batch_size", "train.epochs", "train.optimizer.args.lr", "train.optimizer.name"]
FILE = """
mlspec: a:B
gridsearch:
  user_knobs: {width: !list [8, 16]}
  train: {epochs: 1, batch_size: 8, optimizer: {name: SGD, args: {lr: 0.1}}}
"""


@pytest.fixture
def offered(tmp_path, monkeypatch, capsys):
    """Asks as fish does, in a directory with an experiment of two runs and a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAPIDFIRE_DIR", raising=False)
    (tmp_path / "a.yaml").write_text(FILE)
    (tmp_path / "b.yaml").write_text("mlspec: [")
    with closing(enrolled(tmp_path / "rapidfire_experiments" / "digits" / "journal.db", 2)) as journal:
        journal.record([epoch(1, 1, 0.9), RunChanged(1, RunState.STOPPED)])
    enrolled(tmp_path / "elsewhere" / "images" / "journal.db", 4).close()

    def ask(*typed: str) -> list[str]:
        answer("fish", *typed)
        return [line.partition("\t")[0] for line in capsys.readouterr().out.splitlines()]

    return ask


def test_verbs_and_options_are_offered_with_what_they_mean(offered, capsys):
    assert offered("st") == ["stop", "status"]
    assert offered("--v") == ["--version"]
    assert offered("stop", "--w") == ["--where", "--worse-than"]
    assert offered("replay", "--a") == ["--async"]
    assert offered("stop", "3", "--", "--w") == offered("nonsense", "") == []
    answer("fish", "sto")
    assert capsys.readouterr().out == "stop\tStop runs at their next optimizer step\n"


def test_choices_are_offered(offered):
    assert offered("stop", "--if-state", "re") == []
    assert offered("stop", "--if-state=st") == ["--if-state=stopped"]
    assert offered("status", "-o", "j") == offered("status", "--output", "j") == ["json", "jsonl"]
    assert offered("completion", "") == ["bash", "zsh", "fish"]


def test_runs_are_offered_with_their_states(offered, capsys):
    assert offered("stop", "") == offered("show", "") == ["best", "1", "2"]
    assert offered("stop", "1", "-n", "") == ["best", "1", "2"]
    assert offered("stop", "--dir", "elsewhere", "") == ["best", "1", "2", "3", "4"]
    assert offered("stop", "-e", "elsewhere/images", "4") == ["4"]
    assert offered("stop", "-e", "absent", "") == []
    answer("fish", "stop", "1")
    assert capsys.readouterr().out == "1\tstopped, epoch 1 of 5\n"


def test_experiments_are_offered_by_name(offered, monkeypatch):
    assert offered("status", "-e", "") == ["digits"]
    assert offered("status", "--dir=elsewhere", "-e", "im") == ["images"]
    monkeypatch.setenv("RAPIDFIRE_DIR", "elsewhere")
    assert offered("status", "-e", "") == ["images"]


def test_knobs_of_the_runs_are_offered(offered):
    assert sorted(offered("stop", "--where", "")) == KNOBS
    assert offered("stop", "--where", "'train.epochs > 3 and train.b") == [
        "train.epochs > 3 and train.batch_size"
    ]
    assert offered("clone", "1", "--set", "train.e") == ["train.epochs="]
    assert offered("clone", "1", "--set=+train.b") == ["--set=+train.batch_size="]
    assert offered("clone", "1", "--set", "train.epochs=3") == []


def test_knobs_of_the_file_are_offered_where_one_is_named(offered):
    assert sorted(offered("fit", "a.yaml", "--unset", "")) == [*KNOBS, "user_knobs.width"]
    assert offered("expand", "a.yaml", "--filter", "us") == ["user_knobs.width"]
    assert offered("expand", "a.yaml", "--set", "2:us") == ["2:user_knobs.width="]
    assert offered("expand", "b.yaml", "--set", "us") == []


def test_metrics_are_offered(offered):
    assert offered("best", "--metric", "") == ["loss", "top1_accuracy"]
    assert offered("stop", "--worse-than", "'l") == ["loss"]
    assert offered("fit", "a.yaml", "--require", "l") == ["loss>="]


def test_files_are_offered_where_a_file_is_expected(offered):
    assert answer("fish", "expand", "") == answer("fish", "stop", "-e", "d") == WORDS_AND_FILES
    assert answer("fish", "freeze", "-o", "") == WORDS_AND_FILES
    assert answer("fish", "stop", "") == answer("fish", "fit", "a.yaml", "--unset", "") == WORDS


@pytest.mark.parametrize(
    ("line", "words", "text", "reply"),
    [
        ("rapidfire st", ["st"], "stop", "stop"),
        ("rapidfire stop ", ["stop", ""], "1", "1"),
        ("rapidfire stop --where 'a > 1 ", ["stop", "--where", "a > 1 "], "a > 1 b", "a > 1 b"),
        ("rapidfire clone --set=tr", ["clone", "--set=tr"], "--set=train.epochs=", "train.epochs="),
        ('rapidfire clone --set="tr', ["clone", "--set=tr"], "--set=train.epochs=", "train.epochs="),
        ("rapidfire status -e a\\ b", ["status", "-e", "a b"], "a b c", "a\\ b\\ c"),
        ("rapidfire fit a --set 1:tr", ["fit", "a", "--set", "1:tr"], "1:train.epochs=", "train.epochs="),
        ("rapidfire stop '' x", ["stop", "", "x"], "x", "x"),
    ],
)
def test_bash_is_given_what_it_inserts(line, words, text, reply):
    found = split(line)
    assert [*found.words] == ["rapidfire", *words]
    assert found.reply(text) == reply


def test_nothing_heavy_is_loaded_for_an_answer(offered):
    """Not even the command line: an answer may take no longer than a person notices."""
    program = "import sys; from rapidfire_cli.__main__ import main\ntry: main()\nfinally: print(*sys.modules)"
    for typed in (["stop", ""], ["stop", "--where", "tr"], ["fit", "a.yaml", "--set", ""]):
        command = [sys.executable, "-c", program, "__complete", "fish", *typed]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        *words, loaded = done.stdout.splitlines()
        assert words and done.returncode == WORDS
        assert not {*loaded.split()} & {"torch", "numpy", "typer", "rich", "pydantic", "rapidfire_cli.cli"}
