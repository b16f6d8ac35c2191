"""A page on this machine only that follows a run folder while its fleet trains.

It reads and never writes. What it shows is computed from complete runs; a run counts from the
moment its record is there. Only who has the address with its token sees anything: other accounts of
this machine reach the port as well. Connections are few, and closed when no request comes.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from seepage.attacks import LOSS, Attack, LiRA
from seepage.errors import InputError, SeepageError
from seepage.findings import Findings, collect
from seepage.report.html import SECTIONS, page, render, section_bodies
from seepage.store import Run, open_run

__all__ = ["Follower", "serve"]

HOST = "127.0.0.1"
EVERY = 5
LIVE = ("utility", "attacks", "risk")
CONNECTIONS = 64
# Seconds in which a request must have come, and in which an answer must be taken.
DEADLINE = 10.0


class Follower:
    """Reads the run folder again and again and keeps the newest page; safe to ask from any thread.

    path: a run folder. attacks: what is run on the complete runs so far; by default LOSS and LiRA,
    so that an update costs seconds and not minutes. records: whether samples are named by their
    ids; else by their rows.
    """

    def __init__(
        self, path: str, attacks: tuple[Attack, ...] = (LOSS(), LiRA()), *, records: bool = False
    ) -> None:
        self.path = path
        self.attacks = attacks
        self.records = records
        self.findings: Findings | None = None
        self._state: tuple[object, ...] | None = None
        self._note = ""
        self._pages: dict[str, str] = {}
        self._lock = threading.Lock()
        self.look()

    def look(self) -> None:
        """Look once: recompute when runs have ended since the last time.

        Raises InputError when the folder is no run folder at the first update.
        """
        run = open_run(self.path)
        state = (tuple(run.models.tolist()), tuple(sorted(run.failed)))
        pages = {}
        if state != self._state:
            found, note = self._collect(run)
        else:
            found, note = self.findings, self._note
        pages["/"] = self._live(run, found, note)
        if found is not None:
            summary = json.dumps(found.summary(), allow_nan=False)
            pages["/findings.json"] = summary
        with self._lock:
            if state != self._state:
                self._pages = {}
            self._pages |= pages
            self.findings, self._note, self._state = found, note, state

    def page(self, path: str) -> str | None:
        """The newest page at a path, None where there is none."""
        with self._lock:
            held, findings = self._pages.get(path), self.findings
        if held is None and path == "/report.html" and findings is not None:
            # Large, so only made on request; without records, which stay on disk.
            held = render(findings, None)
            with self._lock:
                self._pages[path] = held
        return held

    def _collect(self, run: Run) -> tuple[Findings | None, str]:
        if len(run.models) < 4:
            return None, "Figures appear when four runs are complete."
        try:
            found = collect(run, attacks=self.attacks, permutations=2, blind=False)
        except InputError as error:
            return None, f"No figures yet: {error}"
        if not self.records:
            rows = np.array([f"row {i}" for i in range(found.samples)], dtype=np.str_)
            found = replace(found, ids=rows)
        return found, ""

    def _live(self, run: Run, findings: Findings | None, note: str) -> str:
        planned = run.planned
        shown = []
        if findings is not None:
            chosen = [s for s in SECTIONS if s.key in LIVE]
            shown = section_bodies(findings, None, chosen, ())
        return page(
            "live.html.j2",
            refresh=EVERY,
            name=str(run.manifest["data"]["name"]),
            path=run.path,
            planned=planned,
            done=len(run.models),
            failed=sorted(run.failed.items()),
            sections=shown,
            note=note,
            f=findings,
        )


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for pages that the follower holds, to its own host name and token only."""

    server: _Server
    server_version = "seepage"
    sys_version = ""
    timeout = DEADLINE

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        self.server.has_asked(self.connection)
        # A page of another site whose name was made to point here still sends its own name.
        port = self.server.server_address[1]
        if self.headers.get("Host", "") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._send(HTTPStatus.FORBIDDEN, "text/plain", "unknown host\n", body)
            return
        path, _, query = self.path.partition("?")
        if not any(self.server.admits(given) for given in (_asked(query), self._cookie())):
            self._send(HTTPStatus.FORBIDDEN, "text/plain", NO_TOKEN, body)
            return
        text = self.server.follower.page(path)
        if text is None:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", "no such page\n", body)
            return
        kind = "application/json" if path.endswith(".json") else "text/html"
        self._send(HTTPStatus.OK, kind, text, body, cookie=True)

    def _cookie(self) -> str:
        # By hand: a library stops at another program's odd cookie.
        held = (c.strip().partition("=") for c in self.headers.get("Cookie", "").split(";"))
        return next((value for name, _, value in held if name == self.server.cookie), "")

    def _send(
        self, status: HTTPStatus, kind: str, text: str, body: bool, *, cookie: bool = False
    ) -> None:
        raw = text.encode()
        self.send_response(status)
        for name, value in (
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(raw))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ):
            self.send_header(name, value)
        if cookie:
            held = f"{self.server.cookie}={self.server.token}"
            self.send_header("Set-Cookie", f"{held}; Path=/; HttpOnly; SameSite=Strict")
        self.end_headers()
        if body:
            self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: paths of a privacy tool do not belong in a terminal."""


NO_TOKEN = "a token is needed: open the address that `seepage serve` printed\n"


def _asked(query: str) -> str:
    try:
        return parse_qs(query, max_num_fields=8).get("token", [""])[0]
    except ValueError:
        return ""


class _Server(ThreadingHTTPServer):
    """A thread per connection, at most `CONNECTIONS` that have not asked for anything yet."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, follower: Follower) -> None:
        self.follower = follower
        self.token = secrets.token_urlsafe(32)
        # Oldest first: sockets from which no request has come, and until when one may.
        self._waiting: dict[socket.socket, float] = {}
        self._guard = threading.Lock()
        super().__init__((HOST, port), _Handler)
        # Cookies are shared between the ports of a host.
        self.cookie = f"seepage-{self.server_address[1]}"

    def admits(self, given: str) -> bool:
        """Whether this is the token, compared in a time that does not tell how much of it is."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def has_asked(self, connection: socket.socket) -> None:
        """A request has come: its connection no longer waits for one."""
        with self._guard:
            self._waiting.pop(connection, None)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Make room for a new connection by closing the one that has waited longest."""
        with self._guard:
            while len(self._waiting) >= CONNECTIONS:
                self._end(next(iter(self._waiting)))
            self._waiting[request] = time.monotonic() + DEADLINE
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Close connections from which no whole request came in time, however it trickles."""
        now = time.monotonic()
        with self._guard:
            for connection in [c for c, until in self._waiting.items() if until < now]:
                self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        del self._waiting[connection]
        # Its thread reads the end of the stream, and leaves.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        self.has_asked(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who goes away in the middle of an answer is no error of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def serve(
    run: str,
    *,
    port: int = 8765,
    records: bool = False,
    announce: Callable[[str], object] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Follow a run folder on http://127.0.0.1:port until interrupted, or until `stop` is set.

    run: the folder, complete or still being filled. port: 0 takes a free one. records: whether
    samples are named by their ids; else by their rows in the pool. announce: called with the
    address, its token included, once it answers; without the token nothing is shown, and a cookie
    carries it to the links of the page. The page refreshes itself and answers no other machine.

    Raises InputError when the folder is no run folder or the port is taken.
    """
    follower = Follower(run, records=records)
    try:
        server = _Server(port, follower)
    except OSError as error:
        raise InputError(
            f"port: expected a free one, got {port} ({error.strerror}); choose another with --port"
        ) from None
    stop = threading.Event() if stop is None else stop
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        if announce is not None:
            announce(f"http://{HOST}:{server.server_address[1]}/?token={server.token}")
        while not stop.wait(EVERY):
            try:
                follower.look()
            except SeepageError:
                # The folder is being written; the last good page stays until the next update.
                continue
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
