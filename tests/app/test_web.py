"""`rapidfire web`: what it prints, who can reach it, where its URL is, and what it needs."""

import os
import socket
import stat
from pathlib import Path

import pytest

from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.verbs import web
from rapidfire_cli.app.verbs.web import Address, finder, forwarding, names
from rapidfire_cli.problems import Refusal
from rapidfire_cli.view.page.bundle import Bundle
from tests.store.sweep import enrolled

OWN = Address("127.0.0.1", 0)


@pytest.fixture
def served(monkeypatch, tmp_path):
    """The verb without a server: the URL's file as it was while one would have run."""
    seen: dict[str, object] = {}

    def serve(app, server: socket.socket) -> None:
        [file] = (tmp_path / "run" / "rapidfire").iterdir()
        seen.update(
            app=app, port=server.getsockname()[1], file=file, text=file.read_text(), mode=file.stat().st_mode
        )

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setattr(web, "_serve", serve)
    monkeypatch.setattr("rapidfire_cli.view.page.bundle.bundle", lambda: Bundle(b"", b""))
    return seen


def test_the_url_is_the_first_line_and_stands_in_a_file_for_the_owner_alone(served, capsys):
    old = os.umask(0)
    try:
        assert web.web(None, None, OWN, read_only=False, opens=False) == 0
    finally:
        os.umask(old)
    url = capsys.readouterr().out.splitlines()[0]
    assert url.startswith(f"http://127.0.0.1:{served['port']}/?token=")
    assert served["text"] == f"{url}\n"
    assert stat.S_IMODE(served["mode"]) == 0o600
    assert not served["file"].exists()  # a server that has ended lets nobody in


def test_under_ssh_the_command_to_run_at_home_is_printed(served, monkeypatch, capsys):
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.2 5555 10.0.0.1 22")
    web.web(None, None, OWN, read_only=False, opens=True)
    assert f"ssh -N -L {served['port']}:127.0.0.1:{served['port']} " in capsys.readouterr().err


def test_an_address_that_others_reach_is_warned_of(served, capsys):
    web.web(None, None, Address("0.0.0.0", 0), read_only=False, opens=False)
    assert "warning: other machines can reach 0.0.0.0" in capsys.readouterr().err


def test_a_browser_is_opened_only_beside_the_terminal(served, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    for display, ssh, opens, count in (
        ("", "", True, 0),
        (":0", "", True, 1),
        (":0", "a b c d", True, 0),
        (":0", "", False, 0),
    ):
        opened.clear()
        monkeypatch.setenv("DISPLAY", display)
        if ssh:
            monkeypatch.setenv("SSH_CONNECTION", ssh)
        else:
            monkeypatch.delenv("SSH_CONNECTION", raising=False)
        web.web(None, None, OWN, read_only=False, opens=opens)
        assert len(opened) == count, (display, ssh, opens)


def test_a_port_that_is_taken_is_named(served):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match="Address already in use"):
            web.web(None, None, Address("127.0.0.1", port), read_only=False, opens=False)


def test_what_is_missing_is_one_line_that_says_how_to_get_it(served, monkeypatch):
    monkeypatch.setattr("rapidfire_cli.view.page.bundle.bundle", lambda: None)
    with pytest.raises(Unavailable, match="make web"):
        web.web(None, None, OWN, read_only=False, opens=False)
    monkeypatch.setattr(web, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"pip install 'rapidfire-cli\[web\]'"):
        web.web(None, None, OWN, read_only=False, opens=False)


def test_the_newest_experiment_is_shown_as_soon_as_there_is_one(tmp_path):
    find = finder(None, str(tmp_path))
    assert find() is None
    enrolled(tmp_path / "first" / "journal.db").close()
    assert find().path == tmp_path / "first"
    enrolled(tmp_path / "second" / "journal.db").close()
    assert find().path == tmp_path / "first"  # a page stays with its experiment


def test_an_experiment_that_is_asked_for_must_exist(tmp_path):
    enrolled(tmp_path / "digits" / "journal.db").close()
    with pytest.raises(Refusal, match="did you mean `digits`"):
        finder("digit", str(tmp_path))


@pytest.mark.parametrize(
    ("connection", "command"),
    [
        ("", None),
        ("not one", None),
        ("10.0.0.2 5555 10.0.0.1 22", "ssh -N -L 8800:127.0.0.1:8800 ada@10.0.0.1"),
        ("10.0.0.2 5555 10.0.0.1 2222", "ssh -N -p 2222 -L 8800:127.0.0.1:8800 ada@10.0.0.1"),
    ],
)
def test_the_way_through_ssh(connection, command, monkeypatch):
    monkeypatch.setattr(web, "getuser", lambda: "ada")
    assert forwarding({"SSH_CONNECTION": connection}, 8800) == command


def test_a_server_has_only_its_own_names():
    assert set(names("127.0.0.1", 80)) == {"127.0.0.1:80", "localhost:80", "[::1]:80"}
    assert names("10.0.0.1", 80) == ("10.0.0.1:80",)
    assert names("::1", 80)[0] == "[::1]:80"
    assert names("0.0.0.0", 80)[0] == f"{socket.gethostname().lower()}:80"


def test_the_directory_of_urls_is_the_users_without_a_runtime_directory(served, monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(web, "_serve", lambda app, server: None)
    web.web(None, None, OWN, read_only=False, opens=False)
    assert (tmp_path / ".cache" / "rapidfire").is_dir()
