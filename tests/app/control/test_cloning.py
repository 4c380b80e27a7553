"""Clones: what they are, what they begin with, and which are refused."""

import pytest

from rapidfire_cli.app.admission import FitAdmission
from rapidfire_cli.app.control.asking import new_request, send
from rapidfire_cli.app.control.cloning import Cloning, epoch_ends
from rapidfire_cli.app.experiments import load_experiment
from rapidfire_cli.app.files import Given
from rapidfire_cli.durable import publication
from rapidfire_cli.engine.checkpoints import KEPT, MODEL, ORIGIN, STATE, Best, Reached, name, to_facts
from rapidfire_cli.engine.ports import NoRetry
from rapidfire_cli.facts import RunOpened
from rapidfire_cli.manifest import codec
from rapidfire_cli.problems import Refusal
from rapidfire_cli.requests import Answer, CloneRun, Delete, Keep, Purge, Undo
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.terms import Clone, Run, RunState, WarmStart
from tests.app.fake_workers import Cli, FaultRates
from tests.app.test_brackets import rising

LR = "train.optimizer.args.lr"
FILE = """\
mlspec: none:None
config:
  train: {epochs: 8, batch_size: 1, optimizer: {name: SGD, args: {lr: 0.5}}}
"""


@pytest.fixture
def cli(tmp_path):
    """An experiment of one run, of which the ends of epochs 3 and 8 are durable."""
    cli = Cli(tmp_path, rising)
    cli.fit(FILE, FaultRates())
    save(cli, 30, 3)
    save(cli, 35, 3, epoch_end=False)
    save(cli, 80, 8)
    return cli


def save(
    cli: Cli,
    step: int,
    epoch: int,
    epoch_end: bool = True,
    files=(f"{MODEL}.safetensors", STATE),
    opened=None,
) -> None:
    reached = Reached(
        1, epoch, step, epoch, 1, (), opened, Best("quality", "max", 3, 0.5), epoch_end=epoch_end
    )
    payload = {file: lambda path: path.write_text("weights") for file in files}
    publication.publish(cli.home.run(run(cli, 1)) / name(step, epoch), payload, to_facts(reached))


def run(cli: Cli, number: int) -> Run:
    return next(one.run for one in known_runs(cli.home.journal, 1) if one.run.number == number)


def asked(cli: Cli, ask) -> Answer:
    [answer] = send(cli.home, new_request(ask, "cli")).answers
    return answer


def test_a_cold_clone_is_a_run_like_any_other(cli):
    answer = asked(cli, CloneRun((1,), (f"{LR}=0.25",)))
    assert (answer.born, answer.text) == (2, "cloned as run 2")
    made = run(cli, 2)
    assert (made.leaf["train"]["optimizer"]["args"]["lr"], made.origin) == (0.25, Clone(1))
    (cli.path / "other.yaml").write_text(FILE.replace("0.5", "0.25"))
    [equal] = load_experiment(Given(cli.path / "other.yaml"), str(cli.path)).runs
    assert made.id == equal.id
    cli.fit(FILE, FaultRates())
    assert cli.states == {1: RunState.COMPLETED, 2: RunState.COMPLETED}


def test_a_clone_that_equals_a_known_run_is_refused_unless_it_is_a_replicate(cli):
    assert asked(cli, CloneRun((1,))).text == "would be the same as run 1"
    assert asked(cli, CloneRun((1,), replicate=True)).born == 2
    assert (run(cli, 2).replicate, run(cli, 2).seed != run(cli, 1).seed) == (1, True)
    assert asked(cli, CloneRun((1,), seed=7)).born == 3
    assert asked(cli, CloneRun((1,), seed=7)).text == "would be the same as run 3"


@pytest.mark.parametrize(("source", "epoch"), [("last", 8), ("best", 3), ("epoch:3", 3)])
def test_a_warm_clone_begins_with_a_durable_epoch_end_that_is_pinned(cli, source, epoch):
    answer = asked(cli, CloneRun((1,), warm="all", source=source))
    made = run(cli, answer.born)
    assert made.warm_start == WarmStart(run(cli, 1).id, epoch)
    assert made.id != run(cli, 1).id
    pinned = cli.home.run(made) / ORIGIN
    publication.verify(pinned)
    for path in epoch_ends(cli.home.run(run(cli, 1))).values():
        assert (path.path / STATE).stat().st_nlink == 1 + (path.reached.epoch == epoch)


def test_a_warm_clone_that_runs_out_of_memory_is_replaced_as_long_as_its_weights_are_there(cli):
    asked(cli, CloneRun((1,), ("train.batch_size=4",), warm="all"))
    clone = run(cli, 2)
    (cli.path / "halved.yaml").write_text(f"execution: {{on_oom: {{train.batch_size: /2}}}}\n{FILE}")
    file = load_experiment(Given(cli.path / "halved.yaml"), str(cli.path)).file
    admission = FitAdmission(cli.home, file, [clone], free=3)
    instead = admission.retry(2)
    assert isinstance(instead, Run)
    assert (instead.warm_start, instead.leaf["train"]["batch_size"]) == (clone.warm_start, 2)
    publication.verify(cli.home.run(instead) / ORIGIN)
    publication.remove(cli.home.run(clone) / ORIGIN)
    assert admission.retry(2) == NoRetry("its initial weights were deleted")


def test_an_epoch_that_is_not_durable_is_refused_with_those_that_are(cli):
    answer = asked(cli, CloneRun((1,), warm="all", source="epoch:5"))
    assert (answer.text, answer.hint) == (
        "epoch 5 of run 1 is not durable",
        "use `--from` with one of: epoch:3, epoch:8",
    )


def test_a_deleted_run_can_be_cloned_until_it_is_purged(cli):
    asked(cli, Delete((1,)))
    assert asked(cli, CloneRun((1,), warm="all")).born == 2
    asked(cli, Purge((1,)))
    publication.verify(cli.home.run(run(cli, 2)) / ORIGIN)
    assert asked(cli, CloneRun((1,), warm="all", seed=9)).text == "already purged: its weights are gone"


def test_an_epoch_end_that_is_kept_outlives_later_checkpoints(cli):
    assert asked(cli, Keep((1,))).text == "kept the end of epoch 8"
    for path in cli.home.run(run(cli, 1)).glob("step-*"):
        publication.remove(path)
    assert asked(cli, Keep((1,))).text == "kept the end of epoch 8"
    assert asked(cli, CloneRun((1,), warm="all", source="epoch:8")).born == 2


def test_undoing_a_keep_deletes_the_epoch_end_unless_another_run_begins_with_it(cli):
    asked(cli, Keep((1,)))
    kept = cli.home.run(run(cli, 1)) / KEPT / name(80, 8)
    assert kept.is_dir()
    assert asked(cli, Undo()).text == "the end of epoch 8 is no longer kept"
    assert not kept.exists()
    assert asked(cli, Undo()).text == "kept the end of epoch 8"
    asked(cli, CloneRun((1,), warm="all", source="epoch:8"))
    asked(cli, Keep((1,)))
    assert asked(cli, Undo()).text == "nothing is kept"
    assert kept.is_dir()


def test_without_a_durable_epoch_end_nothing_can_be_kept_or_continued_warm(cli):
    for step, epoch in ((30, 3), (80, 8)):
        publication.remove(cli.home.run(run(cli, 1)) / name(step, epoch))
    for ask in (Keep((1,)), CloneRun((1,), warm="all")):
        assert asked(cli, ask).text == "no end of an epoch of run 1 is durable yet"


def test_a_run_that_kept_only_its_weights_cannot_be_continued_warm(cli):
    save(cli, 80, 8, files=(f"{MODEL}.safetensors",))
    assert asked(cli, CloneRun((1,), warm="all")).text == "run 1 kept only its weights"


def test_other_code_than_the_run_was_trained_with_is_refused(cli):
    cloning = Cloning(cli.home)
    publication.remove(cli.home.run(run(cli, 1)) / name(80, 8))
    save(cli, 80, 8, opened=RunOpened(1, '{"specs": "a"}', "{}", "{}"))
    cloning.code = '{"specs": "a"}'
    ask = CloneRun((1,), (f"{LR}=0.25",), "all")
    cloning.clone(run(cli, 1), ask, {1: run(cli, 1)})
    cloning.code = '{"specs": "b"}'
    with pytest.raises(Refusal, match="the code changed since run 1 was trained"):
        cloning.clone(run(cli, 1), ask, {1: run(cli, 1)})


def test_undoing_a_clone_deletes_it_and_its_number_is_not_given_again(cli):
    asked(cli, CloneRun((1,), (f"{LR}=0.25",)))
    assert asked(cli, Undo()) == Answer(2, "applied", "deleted", changed=True)
    assert asked(cli, CloneRun((1,), (f"{LR}=0.125",))).born == 3


def test_the_chain_of_clones_is_in_the_manifest_which_is_read_again(cli):
    asked(cli, CloneRun((1,), (f"{LR}=0.25",), "all"))
    asked(cli, CloneRun((2,), (f"{LR}=0.125",)))
    _, runs = codec.read_whole(cli.home.manifest.read_text(), "manifest.jsonl")
    assert [each.origin for each in runs] == [None, Clone(1), Clone(2)]
    assert [each.warm_start for each in runs][1:] == [WarmStart(runs[0].id, 8), None]


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (CloneRun((1,), ("trian.epochs=2",)), "E530"),
        (CloneRun((1,), ("train.epochs=x",)), "E203"),
        (CloneRun((1,), ("seed=3",)), "E531"),
        (CloneRun((1,), (f"{LR}=1.0",), "all", keep_schedule=True), "E517"),
        (CloneRun((1,), seed=3, replicate=True), "E517"),
        (CloneRun((1,), (f"{LR}=0.25",), source="best"), "E517"),
        (CloneRun((1,), seed=2**32), "E517"),
        (CloneRun((1,), ("train.epochs=2",), epochs=3), "E517"),
    ],
)
def test_a_bad_clone_fails_alone_with_what_is_wrong(cli, ask, code):
    with pytest.raises(Refusal) as refused:
        Cloning(cli.home).config(run(cli, 1), ask)
    assert [problem.code for problem in refused.value.problems] == [code]
    assert asked(cli, ask).outcome == "refused"
    assert cli.states == {1: RunState.COMPLETED}
