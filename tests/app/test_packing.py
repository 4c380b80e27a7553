"""How many runs share a GPU: what was asked for, what is noted without effect, and the slots that follow."""

import pytest

from rapidfire_cli.app import devices, workplaces
from rapidfire_cli.app.devices import DeviceRequest, seats
from rapidfire_cli.app.files import Given, load
from rapidfire_cli.app.packing import notes, packed, wanted
from rapidfire_cli.engine.local.slots import Offer
from rapidfire_cli.engine.ports import Slot
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.terms import RunState
from tests.app.fake_workers import Cli
from tests.app.test_brackets import CALM, rising

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
