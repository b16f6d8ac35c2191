"""One owner per run folder, with a heartbeat, taken over when the owner is dead."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from seepage.errors import Locked, SeepageError
from seepage.store.liveness import process_table, runs_still, started
from seepage.store.storage import Storage

__all__ = ["Lock", "in_turn"]

HEARTBEAT = 5.0
DEAD_AFTER = 60.0
_LOOK_AGAIN = 0.05
# A half-written file is a dead owner's when it is that old; older where another shard of the
# folder may be writing its own.
_LEFT_OVER = 1.0
_LEFT_OVER_BESIDE_A_SHARD = 600.0

# A synchroniser's copy of a lock has another name and is none.
_NAME = re.compile(r"[0-9a-f]{32}\.json")

Owner = dict[str, Any]


class Lock:
    """Exclusive ownership of a run folder, or of one shard of its runs.

    A whole-folder lock conflicts with every live lock; shard i/n conflicts with the same shard
    and with a different n. An owner in this process's own table of processes, the same boot and
    the same namespace, is dead when its process is gone (the pid and the start time are both
    compared) or a zombie. Any other, in another container of this machine too, is dead when its
    heartbeat is a minute old, or that far ahead, and does not move while it is watched for two
    beats, so that clocks need not agree.

    No atomic operation of the store is needed, so folders on NFS and buckets serve as well as
    local disks: each process announces a claim under a key of its own, then looks. A held lock
    or a claim with a smaller token wins over it; one with a larger token withdraws when it looks,
    or had looked before this claim was written and will show up as held. All that is assumed is
    that a written key is seen by the next listing. Who takes over from a dead owner, or ends by an
    error, removes what was left half written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     storage = Storage(folder, write=True)
    ...     with Lock(storage):
    ...         Lock(storage).__enter__()
    Traceback (most recent call last):
        ...
    seepage.errors.Locked: ...: expected no other owner, got process ... on ..., still running; ...
    """

    def __init__(
        self, storage: Storage, shard: tuple[int, int] | None = None, *, place: str = "locks"
    ) -> None:
        self.storage = storage
        self.shard = shard
        self.place = place
        self.token = uuid.uuid4().hex
        self.key = f"{place}/{self.token}.json"
        self.beat = HEARTBEAT
        # Left where they are until what their owners left half written is removed: whoever is
        # killed before that leaves the next owner the same to take over.
        self._dead: set[str] = set()
        self._others_live = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def _announce(self, state: str) -> None:
        mine = {
            "token": self.token,
            "state": state,
            "host": socket.gethostname(),
            "table": process_table(),
            "pid": os.getpid(),
            "started": started(os.getpid()),
            "heartbeat": time.time(),
            "shard": self.shard,
        }
        self.storage.put(self.key, json.dumps(mine).encode())

    def _conflicts(self, owner: Owner) -> bool:
        theirs = owner.get("shard")
        if self.shard is None or theirs is None:
            return True
        return list(theirs) == list(self.shard) or theirs[1] != self.shard[1]

    def _read(self, key: str) -> Owner | None:
        raw = self.storage.get(key)
        try:
            owner = json.loads(raw or b"")
            owner["heartbeat"] = float(owner["heartbeat"])
            str(owner["token"]), owner["state"], owner["shard"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return dict(owner)

    def _others(self) -> list[Owner]:
        """Owners and claimants that stand in the way; the dead are noted."""
        found = []
        self._others_live = False
        for key in self.storage.keys(f"{self.place}/"):
            name = key.removeprefix(f"{self.place}/")
            if key == self.key or key in self._dead or not _NAME.fullmatch(name):
                continue
            owner = self._read(key)
            if owner is None or not self._alive(key, owner):
                self._dead.add(key)
                continue
            self._others_live = True
            if self._conflicts(owner):
                found.append(owner)
        return found

    def _alive(self, key: str, owner: Owner) -> bool:
        found = runs_still(owner.get("table"), owner.get("pid"), owner.get("started"))
        if found is not None:
            return found
        if abs(time.time() - owner["heartbeat"]) < DEAD_AFTER:
            return True
        time.sleep(2 * self.beat)
        now = self._read(key)
        return now is not None and bool(now["heartbeat"] != owner["heartbeat"])

    def _refuse(self, owner: Owner) -> Locked:
        return Locked(
            f"{self.storage.where}: expected no other owner, got process {owner.get('pid')} on "
            f"{owner.get('host')}, still running; wait for it or stop it"
        )

    def __enter__(self) -> Lock:
        for owner in self._others():
            if owner["state"] == "held":
                raise self._refuse(owner)
        try:
            self._announce("claim")
            while others := self._others():
                for owner in others:
                    if owner["state"] == "held" or owner["token"] < self.token:
                        raise self._refuse(owner)
                time.sleep(_LOOK_AGAIN)
            self._announce("held")
            if self._dead:
                # Who owns the whole folder is alone in it, however young a file is.
                self._sweep(0.0 if self.shard is None else _LEFT_OVER)
                if not self._others_live:
                    self._bury()
        except BaseException:
            self._withdraw()
            raise
        self._thread = threading.Thread(target=self._live, name="seepage-heartbeat", daemon=True)
        self._thread.start()
        return self

    def _live(self) -> None:
        while not self._stop.wait(self.beat):
            # A full disk must not end the run by its heartbeat: the next beat tries again.
            with contextlib.suppress(SeepageError, OSError):
                self._announce("held")

    def _sweep(self, older: float) -> None:
        if self.place == "locks":
            with contextlib.suppress(SeepageError, OSError):
                self.storage.sweep(_LEFT_OVER_BESIDE_A_SHARD if self._others_live else older)

    def _bury(self) -> None:
        for key in sorted(self._dead):
            self.storage.delete(key)

    def _sweep_after_shards(self) -> None:
        """The last shard to leave removes what those that died beside others left half written."""
        if self.shard is not None:
            with contextlib.suppress(SeepageError, OSError):
                self._others()
                if not self._others_live:
                    self._sweep(_LEFT_OVER)
                    self._bury()

    def _sweep_claims(self) -> None:
        """Whoever dies in the middle of a first claim leaves no owner to take over from."""
        if self.place == "locks":
            with contextlib.suppress(SeepageError, OSError):
                self.storage.sweep_claims()

    def _withdraw(self) -> None:
        with contextlib.suppress(SeepageError, OSError):
            self.storage.delete(self.key)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if error is not None:
            # Workers were stopped wherever they were, perhaps in the middle of a write.
            self._sweep(0.0)
        else:
            self._sweep_after_shards()
            self._sweep_claims()
        self._withdraw()


@contextlib.contextmanager
def in_turn(storage: Storage, what: str) -> Iterator[None]:
    """One process at a time, the others waiting: for what shards of one folder do only once."""
    while True:
        try:
            lock = Lock(storage, place=f"locks-{what}").__enter__()
            break
        except Locked:
            time.sleep(4 * _LOOK_AGAIN)
    try:
        yield
    finally:
        lock.__exit__(None, None, None)
