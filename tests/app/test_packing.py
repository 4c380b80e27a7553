"""How many runs share a GPU: what was asked for, what is noted without effect, and the slots that follow."""

import pytest

from rapidfire_cli.app import devices, workplaces
from rapidfire_cli.app.devices import DeviceRequest, seats
from rapidfire_cli.app.files import Given, load
from rapidfire_cli.app.packing import GIB, fitting, most_at_once, notes, wanted
from rapidfire_cli.app.verbs.why import account_of
from rapidfire_cli.engine.local.slots import Offer, packed
from rapidfire_cli.engine.messages import Memory, Peak, Probed
from rapidfire_cli.engine.ports import Slot
from rapidfire_cli.engine.sharing import Shares
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.schedule.events import NewRun, RunsAdded, StopAsked
from rapidfire_cli.schedule.scheduler import Scheduler
from rapidfire_cli.store.event_log import events
from rapidfire_cli.store.queries import overview
from rapidfire_cli.terms import Run, RunState
from rapidfire_cli.view.results import status_table
from rapidfire_cli.view.why import why as sentences
from rapidfire_cli.view.wording import counted
from tests.app.fake_workers import Cli, FaultRates
from tests.app.test_brackets import CALM, rising
from tests.shares import share

CPU = (Slot(0, "cpu", "", 1.0),)
GPUS = (Slot(0, "cuda:0", "4", 1.0), Slot(1, "cuda:0", "5", 1.0))
CONFIG = (
    "gridsearch: {{train: {{epochs: 1, batch_size: 1, optimizer: {{name: SGD, args: {{lr: 0.5}}}}}}{}}}\n"
)


def file(tmp_path, execution="", section=""):
    text = f"mlspec: none:None\nexecution: {{{execution}}}\n{CONFIG.format(section)}"
    (tmp_path / "file.yaml").write_text(text)
    return load(*Given(tmp_path / "file.yaml"))


IMDB = ", dev_knob: {demo_mode: imdb}"


@pytest.mark.parametrize(
    ("asked", "execution", "section", "runs", "said"),
    [
        (DeviceRequest(), "", "", 1, ()),
        (DeviceRequest(), "runs_per_gpu: 3", "", 3, ()),
        (DeviceRequest(runs_per_gpu=2), "runs_per_gpu: 3", "", 2, ()),
        (DeviceRequest(runs_per_gpu=2), "workers: 3", "", 2, ()),
        (DeviceRequest(workers=2), "runs_per_gpu: 3", "", 1, ()),
        (DeviceRequest(), "", IMDB, 4, ()),
        (DeviceRequest(), "", IMDB.replace("imdb", "imagenet"), 2, ()),
        (DeviceRequest(), "", IMDB.replace("imdb", "!list [imdb, imagenet]"), 2, ()),
        (DeviceRequest(), "runs_per_gpu: 3", IMDB, 3, ("execution.runs_per_gpu",)),
        (DeviceRequest(), "workers: 3", IMDB, 1, ("execution.workers",)),
        (DeviceRequest(workers=3), "", IMDB, 1, ("--workers",)),
    ],
)
def test_the_command_line_beats_the_file_which_beats_a_predefined_placement(
    tmp_path, asked, execution, section, runs, said
):
    understood = file(tmp_path, execution, section)
    found = wanted(understood, asked, expand(understood))

    assert found.runs == runs
    expected = [f"note: `dev_knob.demo_mode` has no effect beside `{name}`" for name in said]
    assert [*notes(found, GPUS)] == expected


def test_a_predefined_placement_skips_the_measurement(tmp_path):
    understood = file(tmp_path, "runs_per_gpu: auto", IMDB)
    found = wanted(understood, DeviceRequest(), expand(understood))
    assert found.runs == 4 and not [*notes(found, GPUS)]
    assert wanted(file(tmp_path, "runs_per_gpu: auto"), DeviceRequest(), ()).runs == "auto"


PEAKS = (Peak(1, 3 * GIB, GIB), Peak(2, 10 * GIB, 2 * GIB), Peak(3, failed="ValueError: no"))


@pytest.mark.parametrize(
    ("memory", "most", "runs", "why"),
    [
        (Memory(80 * GIB, 0), None, 6, "needs 10.00 GiB; with a margin and CUDA 12.50 GiB of 80.00 GiB"),
        (Memory(80 * GIB, GIB), None, 6, "with a margin and CUDA 13.00 GiB of 80.00 GiB"),
        (Memory(80 * GIB, 30 * GIB), None, 3, "with a margin and CUDA 13.00 GiB of 51.00 GiB"),
        (Memory(80 * GIB, 0), 4, 4, "of 80.00 GiB; 6 would fit"),
        (Memory(12 * GIB, 0), None, 1, "with a margin and CUDA 12.50 GiB of 12.00 GiB"),
    ],
)
def test_as_many_runs_share_a_gpu_as_fit_beside_a_margin_and_each_workers_context(memory, most, runs, why):
    found = fitting(Probed((), peaks=PEAKS, memory=memory), most)
    assert (found.runs, found.working) == (runs, 10 * GIB)
    assert found.why.startswith(f"{counted(runs, 'run')} on each GPU: run 2 ") and found.why.endswith(why)


def test_without_a_measurement_each_gpu_trains_one_run():
    found = fitting(Probed((), peaks=PEAKS[2:], memory=Memory(80 * GIB, 0)), None)
    expected = "1 run on each GPU: its memory could not be measured: run 3: ValueError: no"
    assert (found.runs, found.working, found.why) == (1, 0, expected)


@pytest.mark.parametrize(("gangs", "gpus", "most"), [([1] * 5, 2, 3), ([2, 2, 1], 2, 3), ([1], 4, 1)])
def test_no_more_runs_share_a_gpu_than_there_are(gangs, gpus, most):
    runs = [Run(1, "0" * 16, 1, f'{{"train": {{"gpus": {size}}}}}', 1) for size in gangs]
    assert most_at_once(runs, gpus) == most


@pytest.mark.parametrize(
    ("asked", "execution", "section", "said"),
    [
        (DeviceRequest(), "", "", []),
        (DeviceRequest(workers=3), "", "", []),
        (DeviceRequest(), "runs_per_gpu: 1", "", ["execution.runs_per_gpu"]),
        (DeviceRequest(runs_per_gpu=2), "", "", ["--runs-per-gpu"]),
        (DeviceRequest(), "", IMDB, ["dev_knob.demo_mode"]),
        (DeviceRequest(), "runs_per_gpu: 2", IMDB, ["execution.runs_per_gpu", "dev_knob.demo_mode"]),
    ],
)
def test_what_only_matters_on_a_gpu_is_noted_on_the_cpu(tmp_path, asked, execution, section, said):
    understood = file(tmp_path, execution, section)
    found = [*notes(wanted(understood, asked, expand(understood)), CPU)]
    assert found == [f"note: `{name}` has no effect on the CPU" for name in said]


def test_the_slots_of_a_gpu_share_its_memory_and_neighbours_are_on_different_gpus():
    assert [(slot.index, slot.visible, slot.share) for slot in packed(GPUS, 2)] == [
        *((0, "4", 0.5), (1, "5", 0.5), (2, "4", 0.5), (3, "5", 0.5))
    ]
    assert packed(GPUS, 1) == GPUS


def test_threads_do_not_depend_on_how_many_runs_share_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "_offer", lambda asked: Offer(8, ("0", "1")))
    found = {
        seats(file(tmp_path, f"runs_per_gpu: {runs}"), DeviceRequest(runs_per_gpu=other))[1]
        for runs in (1, 2, 8)
        for other in (None, 3)
    }
    assert found == {4}


@pytest.mark.parametrize(
    ("execution", "section", "slots"),
    [("", "", ["0", "1"]), ("runs_per_gpu: 2", "", ["0", "1"] * 2), ("", IMDB, ["0", "1"] * 4)],
)
def test_a_fit_has_a_slot_for_each_run_that_shares_a_gpu(tmp_path, monkeypatch, execution, section, slots):
    monkeypatch.setattr(devices, "_offer", lambda asked: Offer(8, ("0", "1")))
    seen: list[Slot] = []
    monkeypatch.setattr(workplaces, "packed", lambda *given: seen.extend(packed(*given)) or packed(*given))
    cli = Cli(tmp_path, rising)
    cli.fit(f"mlspec: none:None\nexecution: {{{execution}}}\n{CONFIG.format(section)}", CALM, workers=0)
    assert [slot.visible for slot in seen] == slots
    assert set(cli.states.values()) == {RunState.COMPLETED}


def sizes(batch_sizes, execution="runs_per_gpu: 4", gpus="1"):
    """A file with a run of each batch size."""
    train = f"epochs: 4, batch_size: !list {batch_sizes}, gpus: {gpus}"
    optimizer = "optimizer: {name: SGD, args: {lr: 0.5}}"
    return f"mlspec: none:None\nexecution: {{{execution}}}\ngridsearch: {{train: {{{train}, {optimizer}}}}}\n"


def trained(tmp_path, text, faults=CALM, gpus=("0",), memory=40):
    """The experiment after a fit on GPUs with room for rows of this number, all workers together."""
    cli = Cli(tmp_path, rising, fits=memory, fills=2, shared=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "_offer", lambda asked: Offer(8, gpus))
        while not cli.fit(text, faults, workers=0):
            pass
    return cli


def given_up(cli):
    """The slots that gave their memory to a run, in order, and the run."""
    found = [event for event in events(cli.home.journal) if event["event"] == "worker_died"]
    cause = "ended, because run {} needs its memory"
    return [
        (event["slot"], run) for event in found for run in cli.states if event["cause"] == cause.format(run)
    ]


def test_a_run_that_needs_more_than_its_share_gets_that_of_other_slots_one_after_the_other(tmp_path):
    cli = trained(tmp_path, sizes([30, 1, 2, 3, 4, 5]))
    assert set(cli.states.values()) == {RunState.COMPLETED}
    assert [run for _, run in given_up(cli)] == [1, 1], "three quarters of the memory are enough for run 1"
    seen = overview(cli.home.journal, alive=False)
    assert [(given.run, *given.slots) for given in seen.given] == [(run, slot) for slot, run in given_up(cli)]
    notes = status_table(seen).notes
    assert "4 runs on each GPU: `execution.runs_per_gpu`" in notes
    assert f"run 1 ran out of memory and gets that of slot {seen.given[0].slots[0]}" in notes
    told = sentences(account_of(seen, 1))
    assert [line for line in told if "gets that of slot" in line] == [
        f"it ran out of memory and gets that of slot {slot}" for slot, _ in given_up(cli)
    ]
    assert not [line for line in sentences(account_of(seen, 2)) if "gets that of" in line]


def test_a_fit_without_a_packing_does_not_repeat_that_of_the_last_one(tmp_path):
    cli = trained(tmp_path, sizes([1, 2]))
    assert overview(cli.home.journal, alive=False).metadata.packing is not None
    cli.fit(sizes([1, 2, 3], "workers: 1"), CALM, workers=0)
    assert overview(cli.home.journal, alive=False).metadata.packing is None


def test_a_run_that_is_too_large_for_the_whole_gpu_fails_and_the_others_do_not(tmp_path):
    cli = trained(tmp_path, sizes([41, 1, 2, 3, 4, 5]))
    assert [number for number, state in cli.states.items() if state is RunState.FAILED] == [1]
    assert len({slot for slot, _ in given_up(cli)}) == 3, "it had the GPU to itself at last"
    assert {state for number, state in cli.states.items() if number > 1} == {RunState.COMPLETED}


def test_only_the_gpu_on_which_memory_ran_out_trains_fewer_runs(tmp_path):
    cli = trained(tmp_path, sizes([15, 1, 2, 3, 4, 5, 6, 7, 8]), gpus=("0", "1"))
    assert set(cli.states.values()) == {RunState.COMPLETED}
    assert [run for _, run in given_up(cli)] == [1]


@pytest.mark.parametrize(
    ("gangs", "home", "given"),
    [
        ((1, 1), (0,), (4,)),
        ((1, 1), (4,), (2,)),
        ((1, 2), (4,), (2,)),
        ((2, 2), (0, 1), (4, 5)),
        ((2, 1), (4, 5), (2, 3)),
        ((3, 1), (0,), (4,)),
        ((6, 1), (0,), ()),
        ((4, 1), (0,), (4,)),
        ((4, 1), (4,), ()),
    ],
)
def test_a_slot_keeps_its_memory_if_a_run_on_several_slots_needs_it(gangs, home, given):
    """Of six slots on two GPUs, the slot that gives its memory is another one of the same GPU."""
    slots, scheduler = packed(GPUS, 3), Scheduler(6)
    scheduler.step(RunsAdded(tuple(NewRun(run, 9, gang=size) for run, size in enumerate(gangs, 1))))
    scheduler.runs[1].home = home

    shares = Shares()
    assert shares.relieve(slots, scheduler, 1) == given
    larger = {slot.index: shares.of(slot).share for slot in slots if shares.of(slot) != slot}
    assert larger == dict.fromkeys(home if given else (), 2 / 3)


def test_nothing_gives_memory_to_a_run_that_is_not_tried_again():
    slots, scheduler = packed(GPUS, 3), Scheduler(6)
    scheduler.step(RunsAdded((NewRun(1, 9),)))
    scheduler.runs[1].home = (0,)
    scheduler.step(StopAsked())

    assert Shares().relieve(slots, scheduler, 1) == ()


@pytest.mark.parametrize("seed", share(range(20), 4))
def test_whatever_dies_every_run_is_trained_with_enough_memory(tmp_path, seed):
    faults = FaultRates(seed, deaths=0.05, saves=0.3, crashes=0.05)
    cli = trained(tmp_path, sizes([40, 1, 12, 3, 20, 5, 9]), faults, gpus=("0", "1"))
    assert set(cli.states.values()) == {RunState.COMPLETED}
