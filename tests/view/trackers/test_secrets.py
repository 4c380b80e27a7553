"""Trackers get no secrets: neither values of knobs named like secrets nor credentials in URLs."""

import pytest

from rapidfire_cli.facts import RunChanged
from rapidfire_cli.terms import Run, RunState, canonical
from rapidfire_cli.view.trackers.notes import Cursor, NoteReader
from rapidfire_cli.view.trackers.secrets import REDACTED, without_credentials
from rapidfire_cli.view.trackers.tracker import tracked
from tests.store.sweep import enrolled


def test_values_under_keys_that_look_like_secrets_are_redacted():
    secrets = {
        "hf_token": "hf_x",
        "api_key": "k",
        "AWS_SECRET": "s",
        "password": "p",
        "credentials": {"user": "u"},
        "servers": [{"password": "p"}],
    }
    plain = {
        "max_tokens": 5,
        "token": 3,
        "pad_token_id": "0",
        "token_accuracy": "a",
        "tokenizer": "t",
        "keys": "k",
    }
    lists = {"layers": [1, 2], "api_keys": ["a", "b"], "urls": ["ftp://u:p@h", "a@b"]}
    knobs = {"train": {"epochs": 1}, "user_knobs": {**secrets, **plain, **lists, "none": None}}
    shown = tracked(Run(1, "0" * 16, 1, canonical(knobs), 1)).knobs
    redacted = {path.removeprefix("user_knobs.") for path, value in shown.items() if value == REDACTED}
    assert redacted == {
        "hf_token",
        "api_key",
        "AWS_SECRET",
        "password",
        "credentials.user",
        "servers.0.password",
    }
    assert shown["user_knobs.layers"] == "[1,2]"
    assert shown["user_knobs.api_keys"] == '["<redacted>","<redacted>"]'
    assert shown["user_knobs.urls"] == '["ftp://<redacted>@h","a@b"]'
    assert shown["user_knobs.none"] is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:p@ss@host:5432/runs", "postgresql://<redacted>@host:5432/runs"),
        ("redis://:pw@host", "redis://<redacted>@host"),
        ("HTTPS://hf_x@host/a", "HTTPS://<redacted>@host/a"),
        ("git+http://x@host", "git+http://<redacted>@host"),
        (
            "401 for https://h/a?user=u&hf_token=x&n=1 now",
            "401 for https://h/a?user=u&hf_token=<redacted>&n=1 now",
        ),
        ("https://h/a?api_key=x", "https://h/a?api_key=<redacted>"),
    ],
)
def test_credentials_in_urls_are_redacted(text, shown):
    assert without_credentials(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "https://host:8080/a@b?max_tokens=5",
        "abfss://container@account.net/x",
        "ssh://git@host/x",
        "ann@host",
        "s3://bucket/a",
    ],
)
def test_urls_without_credentials_stay_as_they_are(text):
    assert without_credentials(text) == text


def test_causes_of_failures_are_logged_without_credentials(tmp_path):
    journal = enrolled(tmp_path / "journal.db")
    journal.record([RunChanged(1, RunState.FAILED, "OSError: https://u:p@host/x")])
    _, failed = NoteReader(tmp_path / "journal.db", Cursor()).read().notes
    assert failed.cause == "OSError: https://<redacted>@host/x"
