"""A page on this machine only that follows a run folder while its fleet trains.

It reads and never writes. What it shows is computed from complete runs; a run counts from the
moment its record is there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from seepage.attacks import LOSS, Attack, LiRA
from seepage.errors import InputError, SeepageError
from seepage.findings import Findings, collect
from seepage.report.html import SECTIONS, page, render, section_bodies
from seepage.store import Run, open_run

__all__ = ["Follower", "serve"]

HOST = "127.0.0.1"
EVERY = 5
LIVE = ("utility", "attacks", "risk")


class Follower:
    """Reads the run folder again and again and keeps the newest page; safe to ask from any thread.

    path: a run folder. attacks: what is run on the complete runs so far; by default LOSS and LiRA,
    so that an update costs seconds and not minutes.
    """

    def __init__(self, path: str, attacks: tuple[Attack, ...] = (LOSS(), LiRA())) -> None:
        self.path = path
        self.attacks = attacks
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
            return collect(run, attacks=self.attacks, permutations=2, blind=False), ""
        except InputError as error:
            return None, f"No figures yet: {error}"

    def _live(self, run: Run, findings: Findings | None, note: str) -> str:
        planned = int(run.manifest["plan"]["models"])
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
    """Answers GET and HEAD for pages that the follower holds, to its own host name only."""

    server: _Server
    server_version = "seepage"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        # A page of another site whose name was made to point here still sends its own name.
        port = self.server.server_address[1]
        if self.headers.get("Host", "") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._send(HTTPStatus.FORBIDDEN, "text/plain", "unknown host\n", body)
            return
        path = self.path.partition("?")[0]
        text = self.server.follower.page(path)
        if text is None:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", "no such page\n", body)
            return
        kind = "application/json" if path.endswith(".json") else "text/html"
        self._send(HTTPStatus.OK, kind, text, body)

    def _send(self, status: HTTPStatus, kind: str, text: str, body: bool) -> None:
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
        self.end_headers()
        if body:
            self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: paths of a privacy tool do not belong in a terminal."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, follower: Follower) -> None:
        self.follower = follower
        super().__init__((HOST, port), _Handler)


def serve(
    run: str,
    *,
    port: int = 8765,
    announce: Callable[[str], object] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Follow a run folder on http://127.0.0.1:port until interrupted, or until `stop` is set.

    run: the folder, complete or still being filled. port: 0 takes a free one. announce: called with
    the address once it answers. The page refreshes itself; it names no records of the pool and
    answers no other machine.

    Raises InputError when the folder is no run folder or the port is taken.
    """
    follower = Follower(run)
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
            announce(f"http://{HOST}:{server.server_address[1]}/")
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
