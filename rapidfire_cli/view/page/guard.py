"""Access control of the page's server: which requests it accepts, and how it refuses the others.

Theory of operation
-------------------
The server listens on a port of this machine, where every web page that a browser shows can send requests to,
and every user of the machine, too. So each request must prove that it comes from the page itself:

- `Host` names this server, so that a foreign name that is made to resolve to 127.0.0.1 (DNS rebinding) gets
  nothing.
- A cookie holds the session's secret. It is set when the one-time token of the printed URL is handed in;
  that token is void from then on, and the next one is written where the owner alone can read it.
  `SameSite=Strict` keeps the cookie from requests that other pages start; its name holds the port, as
  cookies of one host are shared by all of its ports.
- A request that changes something is a POST with JSON, the page's own `Origin` and a header that only
  scripts of the page can set. GET changes nothing.

Answers carry a strict Content-Security-Policy: even if a run's name were executed as markup, nothing could be
loaded from or sent to anywhere else.

Refusals are one line of plain text.
"""

import secrets
from collections.abc import Callable, Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "token"  # the parameter of the URL
MARK = "x-rapidfire"  # the header of requests that change something
JSON = "application/json"
SAFE = frozenset({"GET", "HEAD"})
OWN = frozenset({"same-origin", "none"})
CONTENT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
ENTER = '<!doctype html><meta http-equiv="refresh" content="0; url=/"><title>rapidfire</title>'


class Session:
    """The secrets of one server: the token of its URL, once, and the cookie that it is exchanged for."""

    def __init__(self, changed: Callable[[str], None] = lambda token: None) -> None:
        """`changed` is called with each new token."""
        self._changed = changed
        self._cookie = secrets.token_urlsafe(32)
        self.token = secrets.token_urlsafe(24)

    def exchange(self, token: str) -> str | None:
        """The cookie's value for the token, which is void afterwards; None for a wrong one."""
        if not secrets.compare_digest(token.encode(), self.token.encode()):
            return None
        self.token = secrets.token_urlsafe(24)
        self._changed(self.token)
        return self._cookie

    def knows(self, cookie: str) -> bool:
        """Whether this is the cookie's value."""
        return secrets.compare_digest(cookie.encode(), self._cookie.encode())


class Guard:
    """Wraps the application: lets through what may pass, and adds the headers of every answer."""

    def __init__(
        self, app: ASGIApp, session: Session, hosts: Collection[str], port: int, read_only: bool = False
    ) -> None:
        """`hosts` are the names of this server, each with its port."""
        self._app = app
        self._session = session
        self._hosts = frozenset(hosts)
        self._origins = frozenset(f"http://{host}" for host in hosts)
        self._name = f"rapidfire-{port}"
        self._read_only = read_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no other kind of connection is served
            return
        answer = self._answer(scope)
        await (answer or self._app)(scope, receive, _with_headers(send))

    def _answer(self, scope: Scope) -> Response | None:
        """The refusal, or the way in; None where the application answers."""
        headers, method = Headers(scope=scope), scope["method"]
        if headers.get("host", "").lower() not in self._hosts:
            return _refused(421, "this server has another name")
        if (origin := headers.get("origin")) is not None and origin not in self._origins:
            return _refused(403, "requests of other sites are refused")
        if scope["path"] == "/" and method == "GET" and (token := _token(scope)) is not None:
            return self._entered(token, headers)
        if not self._session.knows(_cookie(headers, self._name)):
            return _refused(401, "open the URL that `rapidfire web` printed; each one can be opened once")
        if headers.get("sec-fetch-site", "none") not in OWN and scope["path"] != "/":
            return _refused(403, "requests of other sites are refused")
        return None if method in SAFE else self._change_refused(method, headers)

    def _change_refused(self, method: str, headers: Headers) -> Response | None:
        if method != "POST":
            return _refused(405, "method not allowed")
        if "origin" not in headers or headers.get(MARK) != "1":
            return _refused(403, "only the page itself can change anything")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            return _refused(415, "expected JSON")
        if self._read_only:
            return _refused(403, "the page is read-only (`rapidfire web --read-only`)")
        return None

    def _entered(self, token: str, headers: Headers) -> Response:
        cookie = self._session.exchange(token)
        if cookie is None:
            if self._session.knows(_cookie(headers, self._name)):
                return RedirectResponse("/", 303)  # the URL is opened again where it was opened before
            return _refused(401, "this URL was opened before, or its token is wrong; see docs/web.md")
        if headers.get("sec-fetch-site", "none") in OWN:
            response: Response = RedirectResponse("/", 303)
        else:  # a link on another site: a redirect from there would come without the cookie
            response = HTMLResponse(ENTER)
        response.set_cookie(self._name, cookie, httponly=True, samesite="strict", path="/")
        return response


def _token(scope: Scope) -> str | None:
    found = parse_qs(scope["query_string"].decode("latin-1")).get(TOKEN)
    return found[0] if found else None


def _cookie(headers: Headers, name: str) -> str:
    """The cookie's value; empty where there is none."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _refused(status: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status)


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sent
