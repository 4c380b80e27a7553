"""The page's server: which addresses there are, and what each answers.

GET reads the journal and the experiment's directory, and changes nothing. The one POST sends a request the
way the command line does. `guard` checks every HTTP request first.
"""

import html
import json
from collections.abc import Callable
from functools import partial

from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.view.page.bundle import SCRIPT, STYLE, Bundle
from rapidfire_cli.view.page.experiment import ADDRESSES, Experiment, Found, answered
from rapidfire_cli.view.page.stream import Follower

API = "/api/"
BINARY = "application/octet-stream"
EVENTS = "text/event-stream"
MOST_BYTES = 1 << 20  # of a request (assumed)
PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="rapidfire" content="{mode}">
<title>rapidfire</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page.css">
</head>
<body>
<div id="page"></div>
<noscript>This page needs JavaScript.</noscript>
<script type="module" src="/page.js"></script>
</body>
</html>
"""


def site(experiment: Experiment, bundle: Bundle, read_only: bool = False) -> Starlette:
    """The application, without its guard."""
    page = PAGE.format(mode=html.escape("read-only" if read_only else "live"))

    async def index(_: Request) -> Response:
        return HTMLResponse(page)

    async def script(_: Request) -> Response:
        return Response(bundle.script, media_type="text/javascript")

    async def style(_: Request) -> Response:
        return Response(bundle.style, media_type="text/css")

    async def stream(request: Request) -> Response:
        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(
            _follower(experiment, request).messages(), media_type=EVENTS, headers=headers
        )

    async def changes(request: Request) -> Response:
        follower = _follower(experiment, request)
        try:
            found = await to_thread.run_sync(follower.step)
        finally:
            follower.close()
        return JSONResponse({"kind": found.kind, "id": found.id, "data": found.data} if found else None)

    async def read(request: Request) -> Response:
        address = request.url.path.removeprefix(API)
        return await _answer(request, lambda home: experiment.read(home, address, request.query_params))

    async def ask(request: Request) -> Response:
        text = await _body(request)
        return await _answer(request, lambda home: experiment.ask(home, json.loads(text)))

    async def _answer(request: Request, work: Callable[[ExperimentDir], Found]) -> Response:
        """Do the work in a thread, and answer with what it found, or with what is wrong."""
        status, found = await to_thread.run_sync(answered, _find(experiment, request), work)
        return Response(found, media_type=BINARY) if isinstance(found, bytes) else JSONResponse(found, status)

    return Starlette(
        routes=[
            Route("/", index),
            Route(f"/{SCRIPT}", script),
            Route(f"/{STYLE}", style),
            Route(f"{API}stream", stream),
            Route(f"{API}changes", changes),
            *(Route(f"{API}{address}", read) for address in ADDRESSES),
            Route(f"{API}requests", ask, methods=["POST"]),
        ]
    )


def _follower(experiment: Experiment, request: Request) -> Follower:
    """Follows from where the tab says that it is; a browser that reconnects says so in a header."""
    query = request.query_params
    seen = request.headers.get("last-event-id") or query.get("seq", "0")
    seq = int(seen) if seen.isdecimal() else 0
    return Follower(_find(experiment, request), query.get("journal", ""), seq, query.get("live") == "1")


def _find(experiment: Experiment, request: Request) -> Callable[[], ExperimentDir | None]:
    """Finds the experiment that the request names; only those that `names` lists can be named."""
    return partial(experiment.find, request.query_params.get("experiment", ""))


async def _body(request: Request) -> bytes:
    """The request's body; invalid JSON in its place where it is larger than `MOST_BYTES`."""
    text = b""
    async for part in request.stream():
        text += part
        if len(text) > MOST_BYTES:
            return b"too much"  # which is not JSON
    return text
