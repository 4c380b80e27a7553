"""A page's application over a small experiment, and clients that may or may not use it."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.testclient import TestClient

from rapidfire_cli.app.page import experiment_of
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import Origin, Run
from rapidfire_cli.view.page.bundle import Bundle
from rapidfire_cli.view.page.guard import Guard, Session
from rapidfire_cli.view.page.site import site
from tests.store.sweep import config

PORT = 4711
HOST = f"127.0.0.1:{PORT}"
HOSTS = (HOST, f"localhost:{PORT}")
ORIGIN = f"http://{HOST}"
POSTED = {"origin": ORIGIN, "x-rapidfire": "1"}


def application(home: ExperimentDir | None, read_only: bool = False) -> Starlette:
    return site(experiment_of(lambda: home), Bundle(b"script", b"style"), read_only)


def guarded(home: ExperimentDir | None, read_only: bool = False) -> tuple[Guard, Session]:
    session = Session()
    return Guard(application(home, read_only), session, HOSTS, PORT, read_only), session


def stranger(guard: Guard, **headers: str) -> TestClient:
    """A client without the session's cookie."""
    return TestClient(guard, base_url=ORIGIN, headers=headers, follow_redirects=False)


def visitor(home: ExperimentDir | None, read_only: bool = False) -> TestClient:
    """A browser that opened the URL."""
    guard, session = guarded(home, read_only)
    client = stranger(guard)
    assert client.get(f"/?token={session.token}").status_code == 303
    return client


def experiment(directory: Path) -> ExperimentDir:
    return ExperimentDir(directory / "digits")


def born(number: int, origin: Origin) -> Run:
    """A run that was born during a fit."""
    return Run(number, f"{number:016x}", 1, config(number), 42, origin=origin)
