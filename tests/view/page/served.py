"""A page that is served from a thread, and a browser that looks at it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from rapidfire_cli.app.page import experiment_of
from rapidfire_cli.app.verbs.web import names
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.view.page.guard import Guard, Session
from rapidfire_cli.view.page.site import site
from tests.view.page.built import browser, page_bundle

AXE = Path(__file__).parents[3] / "web" / "node_modules" / "axe-core" / "axe.min.js"


class Served:
    """A server; `url` can be opened once, as what `rapidfire web` prints."""

    def __init__(self, session: Session, port: int, server: uvicorn.Server, thread: threading.Thread) -> None:
        self._session, self._server, self._thread = session, server, thread
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={self._session.token}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@contextmanager
def serving(find: Callable[[], ExperimentDir | None], read_only: bool = False) -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        session = Session()
        app = Guard(
            site(experiment_of(find), page_bundle(), read_only),
            session,
            names("127.0.0.1", port),
            port,
            read_only,
        )
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        served = Served(session, port, server, thread)
        try:
            yield served
        finally:
            served.stop()


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        try:
            yield found
        finally:
            found.close()


class Tab:
    """A page in a browser of its own profile, and what went wrong in it."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.wrong.append(said.text))

    def violations(self, *rules: str) -> list[str]:
        """What axe-core finds, in one line each, by all of its rules or by these."""
        self.page.evaluate(AXE.read_text("utf-8"))
        options = {"resultTypes": ["violations"], **({"runOnly": [*rules]} if rules else {})}
        found = self.page.evaluate("options => axe.run(document, options)", options)
        return [f"{each['id']}: {each['nodes'][0]['html'][:150]}" for each in found["violations"]]
