"""One live owner; dead ones make room."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from seepage.errors import Locked
from seepage.store.lock import Lock, in_turn
from seepage.store.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "run", write=True)


def forge(storage: Storage, **changes: Any) -> str:
    """A lock as some other process would have left it."""
    owner = {
        "token": "0" * 32, "state": "held", "host": socket.gethostname(), "pid": os.getpid(),
        "started": psutil.Process().create_time(), "heartbeat": time.time(), "shard": None,
    }  # fmt: skip
    storage.put("locks/other.json", json.dumps(owner | changes).encode())
    return "locks/other.json"


def test_a_second_owner_is_refused_and_the_first_undisturbed(storage: Storage) -> None:
    with Lock(storage) as first:
        before = storage.get(first.key)
        with pytest.raises(Locked, match=rf"got process {os.getpid()} on .*, still running; wait"):
            Lock(storage).__enter__()
        assert storage.keys("locks/") == [first.key]
        assert storage.get(first.key) == before
    assert storage.keys("locks/") == []
    with Lock(storage):
        pass


@pytest.mark.parametrize(
    ("mine", "theirs", "refused"),
    [
        (None, [1, 2], True),
        ((1, 2), None, True),
        ((1, 2), [1, 2], True),
        ((1, 2), [2, 2], False),
        ((1, 2), [3, 4], True),
    ],
)
def test_shards(
    storage: Storage, mine: tuple[int, int] | None, theirs: list[int] | None, refused: bool
) -> None:
    key = forge(storage, shard=theirs)
    if refused:
        with pytest.raises(Locked, match="still running"):
            Lock(storage, mine).__enter__()
    else:
        with Lock(storage, mine) as lock:
            assert storage.keys("locks/") == sorted([key, lock.key])
    assert storage.keys("locks/") == [key]


def test_an_owner_whose_process_is_gone_is_replaced(storage: Storage) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    forge(storage, pid=child.pid)
    with Lock(storage) as lock:
        assert storage.keys("locks/") == [lock.key]


@pytest.mark.parametrize("shard", [None, (1, 2)])
def test_what_a_dead_owner_left_half_written_goes_with_it(
    storage: Storage, tmp_path: Path, shard: tuple[int, int] | None
) -> None:
    storage.put("signals/phi/c/0/0/0", b"whole")
    folder = tmp_path / "run" / "signals/phi/c/0/0"
    for name, age in ((".0.old.partial", 3600.0), (".0.late.partial", 30.0), (".0.now.partial", 0)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    with Lock(storage, shard):
        assert len(list(folder.iterdir())) == 4, "nobody died"
    forge(storage, started=psutil.Process().create_time() - 100.0, shard=shard)
    with Lock(storage, shard):
        left = {p.name for p in folder.iterdir()}
    # Another shard may be writing still; nobody else writes to a folder owned as a whole.
    assert left == {"0", ".0.now.partial"} | ({".0.late.partial"} if shard else set())
    assert storage.get("signals/phi/c/0/0/0") == b"whole"


def test_who_ends_by_an_error_leaves_nothing_half_written(storage: Storage, tmp_path: Path) -> None:
    storage.put("signals/phi/c/0/0/0", b"whole")
    folder = tmp_path / "run" / "signals/phi/c/0/0"

    def interrupted() -> None:
        with Lock(storage):
            (folder / ".0.now.partial").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [p.name for p in folder.iterdir()] == ["0"]


def test_another_process_that_got_the_same_number_is_no_owner(storage: Storage) -> None:
    forge(storage, started=psutil.Process().create_time() - 100.0)
    with Lock(storage) as lock:
        assert storage.keys("locks/") == [lock.key]


def test_a_zombie_is_dead(storage: Storage) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        process = psutil.Process(child.pid)
        started = process.create_time()
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        forge(storage, pid=child.pid, started=started)
        with Lock(storage) as lock:
            assert storage.keys("locks/") == [lock.key]
    finally:
        child.wait()


def test_an_owner_elsewhere_lives_by_its_heartbeat(storage: Storage) -> None:
    forge(storage, host="elsewhere", pid=1)
    with pytest.raises(Locked, match="process 1 on elsewhere, still running"):
        Lock(storage).__enter__()


def test_an_owner_elsewhere_whose_heart_stopped_is_replaced(storage: Storage) -> None:
    forge(storage, host="elsewhere", pid=1, heartbeat=time.time() - 100.0)
    lock = Lock(storage)
    lock.beat = 0.02
    with lock:
        assert storage.keys("locks/") == [lock.key]


def test_an_owner_elsewhere_with_a_slow_clock_lives_as_long_as_it_beats(storage: Storage) -> None:
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.02):
            forge(storage, host="elsewhere", heartbeat=time.time() - 1000.0)

    forge(storage, host="elsewhere", heartbeat=time.time() - 1000.0)
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        lock = Lock(storage)
        lock.beat = 0.2
        with pytest.raises(Locked, match="still running"):
            lock.__enter__()
    finally:
        stop.set()
        thread.join()


def test_the_heart_beats(storage: Storage) -> None:
    lock = Lock(storage)
    lock.beat = 0.02
    with lock:
        first = storage.get(lock.key)
        until = time.monotonic() + 10
        while storage.get(lock.key) == first:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_a_lock_file_that_is_rubbish_is_no_owner(storage: Storage) -> None:
    for raw in (b"", b"{", b"[]", b'{"token": "x"}'):
        storage.put("locks/other.json", raw)
        with Lock(storage) as lock:
            assert storage.keys("locks/") == [lock.key]


def test_shards_do_in_turn_what_is_done_once(storage: Storage) -> None:
    inside, most = 0, 0
    guard = threading.Lock()

    def found() -> None:
        nonlocal inside, most
        with in_turn(storage, "founding"):
            with guard:
                inside += 1
                most = max(most, inside)
            time.sleep(0.02)
            with guard:
                inside -= 1

    threads = [threading.Thread(target=found) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert most == 1
    assert storage.keys("locks-founding/") == []


def test_many_at_once_have_one_owner(storage: Storage) -> None:
    inside, most, won, lost = 0, 0, 0, 0
    guard, start = threading.Lock(), threading.Barrier(6)

    def race() -> None:
        nonlocal inside, most, won, lost
        start.wait()
        try:
            with Lock(storage):
                with guard:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.1)
                with guard:
                    inside -= 1
                    won += 1
        except Locked:
            with guard:
                lost += 1

    threads = [threading.Thread(target=race) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert most == 1
    assert won >= 1
    assert won + lost == 6
