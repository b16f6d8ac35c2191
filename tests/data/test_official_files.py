"""Fetching official files, against a server on this machine with small made files."""

from __future__ import annotations

import gzip
import hashlib
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from seepage.data import load, official
from seepage.data.official import OFFICIAL, OfficialFile, fetch
from seepage.errors import InputError

CONTENT: dict[str, bytes] = {}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = CONTENT.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        announced = len(body) + 10 if self.path.endswith("cut") else len(body)
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    CONTENT.clear()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_address[1]}/"
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join(timeout=5)


def entry(server: str, name: str, body: bytes, place: str = "") -> OfficialFile:
    CONTENT["/" + name] = body
    return OfficialFile(server + name, place + name, len(body), hashlib.sha256(body).hexdigest())


def idx(magic: bytes, shape: tuple[int, ...], content: bytes) -> bytes:
    return gzip.compress(magic + struct.pack(f">{len(shape)}I", *shape) + content)


def test_a_named_dataset_is_fetched_once_and_loaded(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = (
        ("train-images-idx3-ubyte.gz", idx(b"\0\0\x08\x03", (3, 2, 2), bytes(range(12)))),
        ("train-labels-idx1-ubyte.gz", idx(b"\0\0\x08\x01", (3,), bytes([5, 0, 4]))),
    )
    made = tuple(entry(server, name, body, "MNIST/raw/") for name, body in files)
    monkeypatch.setitem(OFFICIAL, "mnist", made)
    with pytest.raises(InputError, match="pass download=True"):
        load("mnist", root=tmp_path)
    seen: list[tuple[str, int, int]] = []
    data = load("mnist", root=tmp_path, download=True, progress=lambda *a: seen.append(a))
    assert data.labels.tolist() == [5, 0, 4]
    assert seen == [(name, len(body), len(body)) for name, body in files]
    assert "download" not in data.source
    CONTENT.clear()
    assert load("mnist", root=tmp_path, download=True).digest == data.digest


def test_nothing_is_left_behind_when_something_is_wrong(server: str, tmp_path: Path) -> None:
    folder = tmp_path / "there"
    right = entry(server, "file", b"x" * 1000)

    def refuse(file: OfficialFile, match: str) -> None:
        with pytest.raises(InputError, match=match) as raised:
            fetch(file, folder / "file", timeout=5)
        assert "\n" not in str(raised.value)
        assert list(folder.iterdir()) == []

    other = OfficialFile(right.url, "file", 1000, "0" * 64)
    refuse(other, r"file from http.*: expected 1000 bytes with SHA-256 000000000000….* got 1000")
    refuse(OfficialFile(right.url, "file", 999, right.sha256), "expected 999 bytes.* got more")
    refuse(OfficialFile(right.url, "file", 1001, right.sha256), "expected 1001 bytes.* got 1000")
    refuse(OfficialFile(server + "gone", "file", 1, right.sha256), "HTTP Error 404.*check the netw")
    cut = entry(server, "cut", b"abc")  # the server announces ten bytes more
    refuse(OfficialFile(cut.url, "file", 13, cut.sha256), "file from .*cut: expected 13 .* got 3")
    refuse(OfficialFile("http://127.0.0.1:1/", "file", 1, ""), "refused.*check the network")
    fetch(right, folder / "file")
    assert (folder / "file").read_bytes() == b"x" * 1000
    assert [p.name for p in folder.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_written(server: str, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("a file where a folder is wanted")
    with pytest.raises(InputError, match=r"expected to download it to .*plain, got"):
        fetch(entry(server, "file", b"x"), tmp_path / "plain" / "file")


def test_the_table_of_official_files_is_sane() -> None:
    files = [f for group in official.OFFICIAL.values() for f in group]
    assert all(f.url.startswith("https://") for f in files)
    assert all(len(f.sha256) == 64 and int(f.sha256, 16) >= 0 for f in files)
    assert len({f.sha256 for f in files}) == len({f.place for f in files}) == len(files)
