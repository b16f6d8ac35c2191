"""One owner per run folder, with a heartbeat, taken over when the owner is dead."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from seepage.errors import Locked
from seepage.store.storage import Storage

__all__ = ["Lock"]

HEARTBEAT = 5.0
DEAD_AFTER = 60.0


class Lock:
    """Exclusive ownership of a run folder, or of one shard of its runs.

    A whole-folder lock conflicts with every live lock; shard i/n conflicts with the same shard
    and with a different n. An owner on this host is dead when its process is gone (the pid and
    the start time are both compared); one elsewhere when its heartbeat is a minute old.
    """

    def __init__(self, storage: Storage, shard: tuple[int, int] | None = None) -> None:
        self.storage = storage
        self.shard = shard
        name = "all" if shard is None else f"shard-{shard[0]}-of-{shard[1]}"
        self.key = f"locks/{name}.json"
        self.token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def _mine(self) -> bytes:
        process = psutil.Process()
        return json.dumps(
            {
                "token": self.token,
                "host": socket.gethostname(),
                "pid": process.pid,
                "started": process.create_time(),
                "heartbeat": time.time(),
                "shard": self.shard,
            }
        ).encode()

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Serialises look-and-take among processes of this host; held for milliseconds."""
        folder = self.storage.local
        if folder is None:
            yield
            return
        import fcntl

        guard = Path(folder) / "locks" / ".guard"
        guard.parent.mkdir(parents=True, exist_ok=True)
        with guard.open("w") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _alive(owner: dict[str, Any]) -> bool:
        if owner.get("host") == socket.gethostname():
            try:
                process = psutil.Process(int(owner["pid"]))
                same = abs(process.create_time() - float(owner["started"])) < 1.0
                return same and process.status() != psutil.STATUS_ZOMBIE
            except (psutil.NoSuchProcess, KeyError, ValueError, TypeError):
                return False
        return bool(time.time() - float(owner.get("heartbeat", 0.0)) < DEAD_AFTER)

    def _conflicts(self, owner: dict[str, Any]) -> bool:
        theirs = owner.get("shard")
        if self.shard is None or theirs is None:
            return True
        return bool(list(theirs) == list(self.shard) or theirs[1] != self.shard[1])

    def _others(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for key in self.storage.keys("locks/"):
            if key.endswith(".json"):
                raw = self.storage.get(key)
                with contextlib.suppress(ValueError):
                    owner = json.loads(raw or b"{}")
                    if isinstance(owner, dict) and owner.get("token") != self.token:
                        yield key, owner

    def __enter__(self) -> Lock:
        with self._guard():
            for key, owner in list(self._others()):
                if not self._alive(owner):
                    self.storage.delete(key)
                elif self._conflicts(owner):
                    raise Locked(
                        f"{self.storage.where}: expected no other owner, got process "
                        f"{owner.get('pid')} on {owner.get('host')}, still alive; "
                        "wait for it or stop it"
                    )
            self.storage.put(self.key, self._mine())
        self._thread = threading.Thread(target=self._beat, name="seepage-heartbeat", daemon=True)
        self._thread.start()
        return self

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            # A full disk must not end the run by its heartbeat: the next beat tries again.
            with contextlib.suppress(OSError):
                self.storage.put(self.key, self._mine())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError):
            self.storage.delete(self.key)
