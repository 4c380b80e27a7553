"""`web`: a page in the browser that follows an experiment, served by this process until Ctrl-C."""

import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from getpass import getuser
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.overview import located
from rapidfire_cli.durable import disk
from rapidfire_cli.durable.failpoints import failpoint
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.layout import ExperimentDir

NEEDED = ("starlette", "uvicorn")
EXTRA = "`rapidfire web` needs the packages starlette and uvicorn: pip install 'rapidfire-cli[web]'"
SSH_PORT = "22"


class Address(NamedTuple):
    """Where to listen; port 0 chooses a free one."""

    host: str
    port: int


def web(experiment: str | None, parent: str | None, address: Address, read_only: bool, opens: bool) -> int:
    """Serve the page until Ctrl-C. Raises Refusal, Unavailable, and OSError where the port is taken."""
    if not all(map(find_spec, NEEDED)):
        raise Unavailable(EXTRA)
    from rapidfire_cli.app.page import experiment_of
    from rapidfire_cli.view.page.bundle import NOT_BUILT, bundle
    from rapidfire_cli.view.page.guard import Guard, Session
    from rapidfire_cli.view.page.site import site

    page = bundle()
    if page is None:
        raise Unavailable(NOT_BUILT)
    find = finder(experiment, parent)
    with socket.create_server(address, family=_family(address.host)) as server:
        port: int = server.getsockname()[1]
        hosts = names(address.host, port)
        with _url_file(port) as write:
            session = Session(lambda token: write(f"http://{hosts[0]}/?token={token}"))
            url = f"http://{hosts[0]}/?token={session.token}"
            write(url)
            _say(url, address.host, port)
            if opens and _has_browser(os.environ):
                import webbrowser

                webbrowser.open(url)
            _serve(Guard(site(experiment_of(find), page, read_only), session, hosts, port, read_only), server)
    return 0


def finder(experiment: str | None, parent: str | None) -> Callable[[], ExperimentDir | None]:
    """A function that returns the chosen experiment, or by default the newest one, None while there is none.

    Raises Refusal if the chosen experiment does not exist.
    """
    found: list[ExperimentDir] = []

    def find() -> ExperimentDir | None:
        if not found:
            try:
                found.append(located(None, parent)[0])
            except Refusal:
                return None
        return found[0]

    if experiment is not None:
        found.append(located(experiment, parent)[0])
    return find


def names(host: str, port: int) -> tuple[str, ...]:
    """The names by which a browser may address this server, with the port; the URL has the first."""
    if _is_any(host):
        machine = socket.gethostname()
        found = [machine, socket.getfqdn(), *_addresses(machine), "localhost", "127.0.0.1", "[::1]"]
    elif _is_own(host):
        found = [_bracketed(host), "localhost", "127.0.0.1", "[::1]"]
    else:
        found = [_bracketed(host)]
    return tuple(dict.fromkeys(f"{name.lower()}:{port}" for name in found))


def forwarding(environ: Mapping[str, str], port: int) -> str | None:
    """The ssh command that forwards the port to the machine the user logged in from; None without ssh."""
    words = environ.get("SSH_CONNECTION", "").split()
    if len(words) != 4:
        return None
    at = "" if words[3] == SSH_PORT else f"-p {words[3]} "
    return f"ssh -N {at}-L {port}:127.0.0.1:{port} {getuser()}@{words[2]}"


def _say(url: str, host: str, port: int) -> None:
    print(url, flush=True)
    if not _is_own(host):
        print(
            f"warning: other machines can reach {host}: this URL lets anyone in, and nothing is encrypted",
            file=sys.stderr,
        )
    elif command := forwarding(os.environ, port):
        print(f"on your own machine, first: {command}", file=sys.stderr)


def _serve(app: object, server: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(
        app,  # type: ignore[arg-type] # an ASGI application
        log_level="critical",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[server])


@contextmanager
def _url_file(port: int) -> Iterator[Callable[[str], None]]:
    """A function that writes the current URL to a file only its owner can read, deleted at the end."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    directory = Path(runtime) if runtime else Path.home() / ".cache"
    path = directory / "rapidfire" / f"web-{port}.url"
    disk.make_directory(path.parent)

    def write(url: str) -> None:
        failpoint("write", path)
        disk.unlink(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{url}\n")

    try:
        yield write
    finally:
        disk.unlink(path)


def _has_browser(environ: Mapping[str, str]) -> bool:
    """Whether a browser would open beside the terminal, not in it or on another machine."""
    shown = environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin"
    return bool(shown) and "SSH_CONNECTION" not in environ


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _is_own(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _addresses(machine: str) -> list[str]:
    """The addresses that the machine's name has."""
    try:
        found = socket.getaddrinfo(machine, None, proto=socket.IPPROTO_TCP)
    except OSError:
        return []
    return [_bracketed(str(address[0])) for *_, address in found]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
