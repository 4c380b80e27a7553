"""A fit with a tracker, read by the tracker's own reader."""

import json

import pytest

from tests.scenarios.conftest import GRID, HEADER


def test_a_fit_logs_every_value_to_tensorboard(cli):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    cli.write(f"{HEADER}trackers: [tensorboard]\n{GRID}")
    assert "behind" not in cli.run("fit", "experiment.yaml").stderr
    home = cli.path / "rapidfire_experiments" / "tiny" / "trackers" / "tensorboard"
    points = json.loads(cli.run("history", "-o", "json").stdout)["history"]
    assert len(points) == 4 * 3 * 4  # runs, epochs, metrics
    for run in range(1, 5):
        found = EventAccumulator(str(home / f"run-{run:03d}")).Reload()
        for split, tag in (("train", "train"), ("validation", "val")):
            for name in ("loss", "top1_accuracy"):
                key = (run, split, name)
                own = [each for each in points if (each["run"], each["split"], each["metric"]) == key]
                logged = found.Scalars(f"{tag}/{name}")
                assert [point.step for point in logged] == [each["step"] for each in own]
                assert [point.value for point in logged] == pytest.approx([each["value"] for each in own])
    assert "tensorboard: 0 events logged; tensorboard --logdir" in cli.run("track").stdout
