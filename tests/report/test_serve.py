from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from seepage.errors import CorruptStore, InputError
from seepage.report import serve as serving
from seepage.report.serve import Follower, serve


class Growing:
    """A run folder that fills: the first `done` runs are complete."""

    def __init__(self, whole: Any, done: int) -> None:
        self._whole = whole
        self.path, self.checkpoints = whole.path, whole.checkpoints
        self.signals, self.classes = whole.signals, whole.classes
        self.labels, self.ids, self.failed = whole.labels, whole.ids, whole.failed
        self.manifest = whole.manifest
        self.planned = int(whole.manifest["plan"]["models"])
        self.models = whole.models[:done]
        self.member = whole.member[:done]

    def signal_at(self, name: str, t: int, /) -> Any:
        return self._whole.signal_at(name, t)[: len(self.models)]

    def data(self) -> None:
        return None


@pytest.fixture
def folder(make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `open_run` finds; tests change `done` or set an error."""
    whole = make_run(samples=80, models=8, checkpoints=(0.0, 1.0, 2.0), failed={9: "<b>NaN</b>"})
    state: dict[str, Any] = {"done": 0, "error": None}

    def open_run(path: str) -> Growing:
        if state["error"] is not None:
            raise state["error"]
        return Growing(whole, state["done"])

    monkeypatch.setattr(serving, "open_run", open_run)
    monkeypatch.setattr(serving, "EVERY", 0.05)
    return state


class Address(NamedTuple):
    host: str
    port: int
    token: str


@pytest.fixture
def address(folder: dict[str, Any]) -> Iterator[Address]:
    folder["done"] = 6
    stop, known = threading.Event(), threading.Event()
    found: list[str] = []

    def announce(url: str) -> None:
        found.append(url)
        known.set()

    thread = threading.Thread(
        target=serve, args=("run",), kwargs={"port": 0, "announce": announce, "stop": stop}
    )
    thread.start()
    assert known.wait(60)
    url = urlsplit(found[0])
    assert (url.scheme, url.path) == ("http", "/")
    assert url.hostname is not None
    assert url.port is not None
    yield Address(url.hostname, url.port, url.query.removeprefix("token="))
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


def ask(address: Address, path: str, method: str = "GET", **headers: str) -> Any:
    """As anybody can: the path as it is."""
    connection = http.client.HTTPConnection(*address[:2], timeout=30)
    connection.request(method, path, headers={"Host": f"{address.host}:{address.port}"} | headers)
    reply = connection.getresponse()
    body = reply.read().decode()
    connection.close()
    return reply, body


def get(address: Address, path: str, host: str | None = None, method: str = "GET") -> Any:
    """As who has the address that was printed."""
    more = {} if host is None else {"Host": host}
    return ask(address, f"{path}?token={address.token}", method, **more)


def test_the_page_follows_the_folder(folder: dict[str, Any]) -> None:
    follower = Follower("run")
    first = follower.page("/")
    assert first is not None
    assert "0 of 8 runs are complete" in first
    assert "Figures appear when four runs are complete" in first
    assert follower.page("/findings.json") is None
    folder["done"] = 6
    follower.look()
    page = follower.page("/")
    assert page is not None
    assert "6 of 8 runs are complete" in page
    assert "Risk over training" in page
    held = follower.findings
    follower.look()
    assert follower.findings is held
    folder["done"] = 8
    follower.look()
    assert follower.findings is not held
    assert follower.findings is not None
    assert follower.findings.models == 8


def test_why_a_run_failed_is_escaped(folder: dict[str, Any]) -> None:
    page = Follower("run").page("/")
    assert page is not None
    assert "&lt;b&gt;NaN" in page


def test_pages_and_headers(address: Address) -> None:
    reply, body = get(address, "/")
    assert reply.status == 200
    assert "6 of 8 runs are complete" in body
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert json.loads(get(address, "/findings.json")[1])["models"] == 6
    report = get(address, "/report.html")[1]
    assert "data:image/png" not in report
    assert 'id="stage"' in report
    assert get(address, "/../etc/passwd")[0].status == 404
    assert get(address, "/", method="HEAD")[1] == ""
    assert get(address, "/", method="POST")[0].status == 501


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "localhost:1"])
def test_a_page_of_another_name_gets_nothing(address: Address, host: str) -> None:
    reply, body = get(address, "/", host=host)
    assert reply.status == 403
    assert body == "unknown host\n"


REFUSED = "a token is needed: open the address that `seepage serve` printed\n"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/findings.json", "/report.html", "/nowhere"])
def test_without_the_token_nothing_is_shown(address: Address, path: str, method: str) -> None:
    wrong = address.token[:-1] + ("A" if address.token[-1] != "A" else "B")
    cookie = f"seepage-{address.port}"
    for query, cookies in (
        ("", ""),
        ("?token=", ""),
        (f"?token={wrong}", ""),
        (f"?token={address.token}x", ""),
        (f"?Token={address.token}", ""),
        (f"?{address.token}", ""),
        ("?token=%ff%00&token=" + address.token, ""),
        ("?" + "&".join(["a=b"] * 100), ""),
        ("", f"{cookie}={wrong}"),
        ("", f"{cookie}x={address.token}"),
        ("", f"token={address.token}"),
        ("", "=;;" + address.token),
    ):
        reply, body = ask(address, path + query, method, **({"Cookie": cookies} if cookies else {}))
        assert reply.status == 403
        assert body == (REFUSED if method == "GET" else "")
        assert "Set-Cookie" not in reply.headers
        assert int(reply.headers["Content-Length"]) == len(REFUSED)


def test_the_token_comes_back_as_a_cookie_for_links(address: Address) -> None:
    assert len(base64.urlsafe_b64decode(address.token + "==")) >= 16
    reply, page = get(address, "/")
    name, _, rest = reply.headers["Set-Cookie"].partition("=")
    assert name == f"seepage-{address.port}", "ports of one host share cookies"
    assert rest == f"{address.token}; Path=/; HttpOnly; SameSite=Strict"
    assert address.token not in page
    cookie = f"other=a:b[c; {name}={address.token}"
    for path in ("/", "/findings.json", "/report.html"):
        reply, body = ask(address, path, Cookie=cookie)
        assert reply.status == 200
        assert body == get(address, path)[1]
    assert ask(address, "/", "HEAD", Cookie=cookie)[0].status == 200


def test_every_server_has_its_own_token(folder: dict[str, Any]) -> None:
    folder["done"] = 2
    servers = [serving._Server(0, Follower("run")) for _ in range(2)]
    assert servers[0].token != servers[1].token
    for server in servers:
        server.server_close()


def everything(page: str) -> str:
    """A page with its packed blocks opened."""
    blocks = re.findall(r">([A-Za-z0-9+/=\s]{40,})</script>", page)
    opened = [page]
    for block in blocks:
        # Letters of a packed block may spell an id by chance.
        opened[0] = opened[0].replace(block, "")
        with contextlib.suppress(ValueError, OSError):
            opened.append(gzip.decompress(base64.b64decode(block)).decode("latin-1"))
    return "\n".join(opened)


@pytest.mark.parametrize("records", [False, True])
def test_ids_are_shown_only_where_records_are_allowed(
    folder: dict[str, Any], records: bool
) -> None:
    folder["done"] = 8
    follower = Follower("run", records=records)
    assert follower.findings is not None
    ids = serving.open_run("run").ids.tolist()
    shown = {
        path: sum(i in everything(follower.page(path) or "") for i in ids)
        for path in ("/", "/findings.json", "/report.html")
    }
    assert shown["/"] == 0
    assert shown["/findings.json"] == (50 if records else 0)
    assert shown["/report.html"] == (len(ids) if records else 0)


def test_half_open_connections_do_not_keep_others_out(address: Address) -> None:
    started = threading.active_count()
    with contextlib.ExitStack() as held:
        for i in range(400):
            half = held.enter_context(socket.create_connection(address[:2], timeout=30))
            # Some say nothing, some begin, some never end their headers.
            half.sendall((b"", b"GET", b"GET / HTTP/1.1\r\nA: b\r\n")[i % 3])
        assert get(address, "/")[0].status == 200
        # Those that were let go end a moment later.
        until = time.monotonic() + 30
        while threading.active_count() > started + serving.CONNECTIONS + 1:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert ask(address, "/")[0].status == 403


def test_a_request_that_trickles_ends_at_its_deadline(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "DEADLINE", 0.3)
    with socket.create_connection(address[:2], timeout=30) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\n")
        ended = False
        for _ in range(600):
            try:
                slow.sendall(b"A: b\r\n")
                slow.settimeout(0.05)
                ended = slow.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
            if ended:
                break
        assert ended
    assert get(address, "/")[0].status == 200


def test_who_leaves_in_the_middle_is_no_error(
    address: Address, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(20):
        with socket.create_connection(address[:2], timeout=30) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.sendall(f"GET /report.html?token={address.token} HTTP/1.1\r\n".encode())
            gone.sendall(f"Host: {address.host}:{address.port}\r\n\r\n".encode())
    assert get(address, "/")[0].status == 200
    assert capfd.readouterr().err == ""


def test_it_listens_on_this_machine_only(address: Address) -> None:
    assert address.host == "127.0.0.1"


def test_a_folder_that_is_being_written_keeps_the_last_page(
    address: Address, folder: dict[str, Any]
) -> None:
    folder["error"] = CorruptStore("half a chunk")
    threading.Event().wait(0.2)
    assert get(address, "/")[0].status == 200


def test_bad_folder_and_port(folder: dict[str, Any], address: Address) -> None:
    with pytest.raises(InputError, match="port: expected a free one, got"):
        serve("run", port=address.port)
    folder["error"] = InputError("run: expected a run folder")
    with pytest.raises(InputError, match="expected a run folder"):
        serve("run", port=0)
