from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

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


@pytest.fixture
def address(folder: dict[str, Any]) -> Iterator[tuple[str, int]]:
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
    host, port = found[0].removeprefix("http://").rstrip("/").split(":")
    yield host, int(port)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


def get(address: tuple[str, int], path: str, host: str | None = None, method: str = "GET") -> Any:
    connection = http.client.HTTPConnection(*address, timeout=30)
    connection.request(method, path, headers={"Host": host or f"{address[0]}:{address[1]}"})
    reply = connection.getresponse()
    body = reply.read().decode()
    connection.close()
    return reply, body


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


def test_pages_and_headers(address: tuple[str, int]) -> None:
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
def test_a_page_of_another_name_gets_nothing(address: tuple[str, int], host: str) -> None:
    reply, body = get(address, "/", host=host)
    assert reply.status == 403
    assert body == "unknown host\n"


def test_it_listens_on_this_machine_only(address: tuple[str, int]) -> None:
    assert address[0] == "127.0.0.1"


def test_a_folder_that_is_being_written_keeps_the_last_page(
    address: tuple[str, int], folder: dict[str, Any]
) -> None:
    folder["error"] = CorruptStore("half a chunk")
    threading.Event().wait(0.2)
    assert get(address, "/")[0].status == 200


def test_bad_folder_and_port(folder: dict[str, Any], address: tuple[str, int]) -> None:
    with pytest.raises(InputError, match="port: expected a free one, got"):
        serve("run", port=address[1])
    folder["error"] = InputError("run: expected a run folder")
    with pytest.raises(InputError, match="expected a run folder"):
        serve("run", port=0)
