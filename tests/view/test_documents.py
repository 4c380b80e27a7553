"""A document names the weights that are there, as best only those of the best epoch that it tells."""

from dataclasses import replace

import pytest

from rapidfire_cli.durable import publication
from rapidfire_cli.engine.checkpoints import newest_first
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.documents import run_document
from tests.store.sweep import METADATA, best, row

KEPT = {"metric": "top1_accuracy", "direction": "max", "epoch": 3, "value": 0.9}


@pytest.fixture
def seen(tmp_path) -> Overview:
    """One run, of which the weights of its last and of its third epoch are kept."""
    run, home = row(1, 0.8, best=best(3, 0.9)), ExperimentDir(tmp_path)
    publication.publish(home.run(run) / "step-0000000100-epoch-000005", {}, {"best": {**KEPT}})
    for name in ("final.safetensors", "best.pt"):
        (home.run(run) / name).touch()
    return Overview(METADATA, RunState.COMPLETED, (run,), home, METADATA.objective)


def weights(seen: Overview, **changes: object) -> object:
    return run_document(replace(seen.rows[0], **changes), seen)["weights"]


def test_the_weights_that_are_there_are_named(seen):
    directory = seen.home.run(seen.rows[0])
    assert weights(seen) == {
        "final": f"{directory / 'final.safetensors'}",
        "best": f"{directory / 'best.pt'}",
    }
    (directory / "final.safetensors").unlink()
    assert weights(seen)["final"] is None


def test_weights_of_another_epoch_or_by_another_objective_are_not_called_the_best(seen):
    assert weights(seen, best=best(4, 0.95))["best"] is None
    assert weights(seen, best=None)["best"] is None
    by_loss = replace(seen, objective=replace(seen.objective, direction="min"))
    assert weights(by_loss)["best"] is None


def test_a_damaged_checkpoint_proves_nothing(seen):
    (checkpoint,) = newest_first(seen.home.run(seen.rows[0]))
    (checkpoint / publication.MANIFEST).write_text("{}")
    assert weights(seen)["best"] is None
