"""What `track` prints after logging: a command to copy, or where a server keeps the runs."""

import pytest

from rapidfire_cli.view.trackers import mlflow, tensorboard, trackio, wandb
from rapidfire_cli.view.trackers.tracker import Place
from tests.store.sweep import METADATA


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in (mlflow.SERVER, trackio.FOLDER, wandb.MODE, wandb.KEY, wandb.PROJECT):
        monkeypatch.delenv(name, raising=False)
    return Place(tmp_path / "a b", METADATA, {}, lambda run: ())


def test_paths_are_quoted_for_a_shell(place, tmp_path):
    assert tensorboard.where(place) == f"tensorboard --logdir '{tmp_path}/a b'"
    assert mlflow.where(place) == f"mlflow ui --backend-store-uri 'sqlite:///{tmp_path}/a b/mlflow.db'"
    assert wandb.where(place) == f"wandb sync '{tmp_path}/a b/wandb'/offline-run-*"
    assert trackio.where(place) == f"TRACKIO_DIR='{tmp_path}/a b' trackio show --project digits"


def test_a_server_of_mlflow_is_shown_by_its_address_without_credentials(place, monkeypatch):
    monkeypatch.setenv(mlflow.SERVER, "https://ann:pw@host/mlflow")
    assert mlflow.where(place) == "https://<redacted>@host/mlflow"


def test_the_project_of_wandb_is_the_one_that_is_logged_to(place, monkeypatch):
    monkeypatch.setenv(wandb.MODE, "online")
    assert wandb.where(place) == "project digits"
    monkeypatch.setenv(wandb.PROJECT, "vision")
    assert wandb.where(place) == "project vision"
