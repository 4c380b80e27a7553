"""A stand-in for the server of Weights & Biases, which is not to be had as a package.

It answers the requests that W&B's own client sends for a run, as far as the client needs the answers, and
keeps what it was sent. What only the real server does (accounts, limits, its database) it cannot show.
"""

import gzip
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HISTORY, SUMMARY = "wandb-history.jsonl", "wandb-summary.json"
KEY = "0" * 40
ENTITY = {"id": "e", "name": "team"}


@dataclass
class Received:
    """A run as the server knows it."""

    group: str = ""
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[int, dict[str, Any]] = field(default_factory=dict)  # of the history, by their number
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """The lines in order."""
        return [self.lines[number] for number in sorted(self.lines)]


@dataclass
class Server:
    """Its address, and what it received; runs by project and id."""

    address: str
    runs: dict[tuple[str, str], Received]
    arrived: threading.Condition

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which W&B's client logs to it."""
        return {"WANDB_BASE_URL": self.address, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}


@contextmanager
def serving(port: int = 0) -> Iterator[Server]:
    """Serve on this machine until the block ends."""
    runs: dict[tuple[str, str], Received] = defaultdict(Received)
    arrived = threading.Condition()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self._body()
            with arrived:
                answer = _answer(runs, self.path, json.loads(body), f"http://{self.headers['host']}")
                arrived.notify_all()
            self._send(json.dumps(answer).encode())

        def do_PUT(self) -> None:
            self._body()
            self._send(b"")

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            return gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body

        def _send(self, answer: bytes) -> None:
            self.send_response(200)
            self.send_header("content-length", f"{len(answer)}")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_port}", runs, arrived)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(runs: dict[tuple[str, str], Received], path: str, asked: dict[str, Any], here: str) -> object:
    if path == "/graphql":
        return {"data": _data(runs, asked["operationName"], asked["variables"], here)}
    _, _, _, project, id, _ = path.split("/")  # /files/ENTITY/PROJECT/ID/file_stream
    run = runs[project, id]
    files = asked.get("files", {})
    if part := files.get(HISTORY):
        run.lines |= dict(enumerate(map(json.loads, part["content"]), part["offset"]))
    if part := files.get(SUMMARY):
        run.summary = json.loads(part["content"][-1])
    if asked.get("complete"):
        run.exit_code = asked["exitcode"]
    return {}


def _data(runs: dict[tuple[str, str], Received], name: str, given: dict[str, Any], here: str) -> object:
    match name:
        case "RunResumeStatus":
            bucket = None
            if run := runs.get((given["project"], given["name"])):
                bucket = _bucket(given["project"], given["name"], run)
            return {"model": {"id": "p", "name": given["project"], "entity": ENTITY, "bucket": bucket}}
        case "UpsertBucket":
            id = given["name"] or given["id"]
            project = given["project"] or next(project for project, known in runs if known == id)
            inserted = (project, id) not in runs
            run = runs[project, id]
            run.group, run.name = given["groupName"] or run.group, given["displayName"] or run.name
            run.config = json.loads(given["config"] or "null") or run.config
            return {"upsertBucket": {"bucket": _bucket(project, id, run), "inserted": inserted}}
        case "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{here}/storage/{file}"} for file in given["files"]]
            return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
        case _:
            return {}


def _bucket(project: str, id: str, run: Received) -> dict[str, Any]:
    tail = [json.dumps(line) for line in run.history[-1:]]
    return {
        "id": id,
        "name": id,
        "displayName": run.name,
        "config": json.dumps(run.config),
        "summaryMetrics": json.dumps(run.summary),
        "historyLineCount": len(run.lines),
        "historyTail": json.dumps(tail),
        "eventsLineCount": 0,
        "eventsTail": "[]",
        "logLineCount": 0,
        "tags": [],
        "wandbConfig": json.dumps({"t": 1}),
        "project": {"id": "p", "name": project, "entity": ENTITY},
    }
