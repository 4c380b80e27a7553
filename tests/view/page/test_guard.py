"""Only the page itself gets anything from its server, whatever others send."""

import re
from collections.abc import Iterator

import pytest
from starlette.routing import Route

from rapidfire_cli.view.page.guard import CONTENT, HEADERS, Session
from tests.store.sweep import enrolled
from tests.view.page.pages import HOST, ORIGIN, POSTED, application, experiment, guarded, stranger, visitor

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
FOREIGN = {
    "no token": {},
    "wrong token": {"cookie": "rapidfire-4711=wrong"},
    "another port's cookie": {"cookie": "rapidfire-4712={cookie}"},
    "foreign Host": {"cookie": "rapidfire-4711={cookie}", "host": "evil.example:4711"},
    "Host without its port": {"cookie": "rapidfire-4711={cookie}", "host": "127.0.0.1"},
    "foreign Origin": {"cookie": "rapidfire-4711={cookie}", "origin": "http://evil.example"},
    "another port's Origin": {"cookie": "rapidfire-4711={cookie}", "origin": "http://127.0.0.1:4712"},
    "no Origin but null": {"cookie": "rapidfire-4711={cookie}", "origin": "null"},
}
INCOMPLETE = {
    "no header": {"origin": ORIGIN, "content-type": "application/json"},
    "no Origin": {"x-rapidfire": "1", "content-type": "application/json"},
    "no JSON": {**POSTED, "content-type": "text/plain"},
    "a form": {**POSTED, "content-type": "application/x-www-form-urlencoded"},
}


@pytest.fixture
def home(tmp_path):
    home = experiment(tmp_path)
    enrolled(home.journal).close()
    return home


def paths() -> list[str]:
    """Every address that the application has, with a number where one belongs."""
    routes = [route for route in application(None).routes if isinstance(route, Route)]
    assert len(routes) > 10
    return sorted({re.sub(r"\{number\}", "1", route.path) for route in routes} | {"/nothing", "/?token=x"})


def attempts() -> Iterator[tuple[str, str, str, dict[str, str]]]:
    for path in paths():
        for method in METHODS:
            for name, headers in FOREIGN.items():
                whole = {"content-type": "application/json", "x-rapidfire": "1", "origin": ORIGIN, **headers}
                yield path, method, name, whole if method == "POST" else headers
        for name, headers in INCOMPLETE.items():
            yield path, "POST", name, {"cookie": "rapidfire-4711={cookie}", **headers}
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            yield (
                path,
                method,
                "a method that does not exist",
                {"cookie": "rapidfire-4711={cookie}", **POSTED},
            )


def test_every_route_and_method_is_refused_to_whoever_is_not_the_page(home):
    guard, session = guarded(home)
    cookie = session.exchange(session.token)
    client = stranger(guard)
    body = {"verb": "stop", "runs": [1]}
    for path, method, name, headers in attempts():
        sent = {key: value.replace("{cookie}", cookie or "") for key, value in headers.items()}
        found = client.request(method, path, headers=sent, json=body if method == "POST" else None)
        assert found.status_code in (401, 403, 405, 415, 421), (path, method, name, found.status_code)
        assert "set-cookie" not in found.headers, (path, method, name)
        assert len(found.content) < 100, (path, method, name)
    assert client.get("/api/requests", headers={"cookie": f"rapidfire-4711={cookie}"}).json() == {
        "requests": []
    }


def test_a_token_is_exchanged_once_for_a_cookie_that_scripts_and_other_sites_cannot_use(home):
    guard, session = guarded(home)
    client, other, token = stranger(guard), stranger(guard), session.token
    entered = client.get(f"/?token={token}")
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"]
    assert cookie.startswith("rapidfire-4711=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert client.get("/").status_code == 200
    assert client.get(f"/?token={token}").status_code == 303  # where it was opened, the URL still leads there
    assert other.get(f"/?token={token}").status_code == 401
    assert other.get(f"/?token={session.token}").status_code == 303  # the next one, which the owner can read


def test_each_new_token_is_told():
    told: list[str] = []
    session = Session(told.append)
    session.exchange(session.token)
    assert told == [session.token]


def test_a_link_on_another_site_enters_by_a_page_of_our_own(home):
    guard, session = guarded(home)
    found = stranger(guard).get(f"/?token={session.token}", headers={"sec-fetch-site": "cross-site"})
    assert (found.status_code, "url=/" in found.text) == (200, True)
    assert "rapidfire-4711=" in found.headers["set-cookie"]


def test_other_sites_cannot_load_anything_even_with_the_cookie(home):
    client = visitor(home)
    assert client.get("/api/rungs", headers={"sec-fetch-site": "same-origin"}).status_code == 200
    assert client.get("/api/rungs", headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_every_answer_forbids_foreign_content(home):
    guard, _ = guarded(home)
    for found in (stranger(guard).get("/"), visitor(home).get("/"), visitor(home).get("/nothing")):
        assert {name: found.headers[name] for name in HEADERS} == HEADERS
    assert CONTENT.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in CONTENT


def test_a_read_only_page_changes_nothing(home):
    found = visitor(home, read_only=True).post("/api/requests", headers=POSTED, json={"verb": "undo"})
    assert found.status_code == 403
    assert "read-only" in found.text


def test_get_leaves_the_experiment_as_it_is(home):
    client = visitor(home)
    before = home.journal.read_bytes()
    for path in paths():
        if path not in ("/?token=x", "/api/stream"):
            assert client.get(path).status_code in (200, 404, 422), path
    assert home.journal.read_bytes() == before
    assert not home.lock.exists()


def test_the_host_is_compared_without_regard_to_case(home):
    guard, session = guarded(home)
    assert stranger(guard).get(f"/?token={session.token}", headers={"host": HOST.upper()}).status_code == 303
