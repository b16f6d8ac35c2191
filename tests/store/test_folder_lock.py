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
from seepage.store import liveness, lock
from seepage.store.liveness import process_table, runs_still, started
from seepage.store.lock import Lock, in_turn
from seepage.store.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "run", write=True)


OTHER = f"locks/{'0' * 32}.json"


def forge(storage: Storage, key: str = OTHER, **changes: Any) -> str:
    """A lock as some other process would have left it."""
    owner = {
        "token": "0" * 32, "state": "held", "host": socket.gethostname(), "table": process_table(),
        "pid": os.getpid(), "started": started(os.getpid()), "heartbeat": time.time(),
        "shard": None,
    }  # fmt: skip
    storage.put(key, json.dumps(owner | changes).encode())
    return key


def earlier() -> str:
    """Another start than this process's."""
    return str(int(started(os.getpid()) or 0) - 10_000)


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
        if shard:
            forge(storage, f"locks/{'1' * 32}.json", token="1" * 32, shard=[2, 2])
    forge(storage, started=earlier(), shard=shard)
    with Lock(storage, shard):
        left = {p.name for p in folder.iterdir()}
    # Another shard may be writing still; nobody else writes to a folder owned as a whole.
    assert left == ({"0", ".0.now.partial", ".0.late.partial"} if shard else {"0"})
    assert storage.get("signals/phi/c/0/0/0") == b"whole"


def test_what_was_left_goes_also_when_the_successor_is_killed_before_it_looks(
    storage: Storage, tmp_path: Path
) -> None:
    storage.put("signals/phi/c/0/0/0", b"whole")
    half = tmp_path / "run" / "signals/phi/c/0/0/.0.now.partial"
    half.write_bytes(b"half")
    forge(storage, started=earlier())
    # The successor has seen that the owner is dead, and is killed before anything else.
    assert Lock(storage)._others() == []
    with Lock(storage) as lock:
        assert not half.exists()
        assert storage.keys("locks/") == [lock.key]


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
    forge(storage, started=earlier())
    with Lock(storage) as lock:
        assert storage.keys("locks/") == [lock.key]


def test_a_zombie_is_dead(storage: Storage) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        process = psutil.Process(child.pid)
        when = started(child.pid)
        assert when is not None
        assert child.stdin is not None
        child.stdin.close()
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        forge(storage, pid=child.pid, started=when)
        with Lock(storage) as lock:
            assert storage.keys("locks/") == [lock.key]
    finally:
        child.wait()


@pytest.mark.parametrize(
    "where",
    [
        {"table": "the same boot, another namespace"},
        {"table": None},
        {"table": "another", "pid": 1},
        {"started": None},
        {"pid": "1"},
    ],
)
def test_a_number_of_another_table_of_processes_says_nothing(
    storage: Storage, where: dict[str, Any]
) -> None:
    """The same host name, as two containers of one machine have: the heartbeat alone decides."""
    alive: dict[str, Any] = {"pid": 2**22 + 1, "started": "1"} | where
    forge(storage, **alive)
    with pytest.raises(Locked, match="still running"):
        Lock(storage).__enter__()
    # Nor does a living process of that number here make it live.
    here: dict[str, Any] = {"pid": os.getpid(), "heartbeat": time.time() - 100.0} | where
    forge(storage, **here)
    taken = Lock(storage)
    taken.beat = 0.02
    with taken:
        assert storage.keys("locks/") == [taken.key]


def test_who_does_not_know_its_own_table_goes_by_heartbeats(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge(storage, pid=2**22 + 1)
    monkeypatch.setattr(liveness, "process_table", lambda: None)
    monkeypatch.setattr(lock, "process_table", lambda: None)
    with pytest.raises(Locked, match="still running"):
        Lock(storage).__enter__()


def test_a_lock_of_an_earlier_version_names_no_table(storage: Storage) -> None:
    owner = {
        "token": "0" * 32, "state": "held", "host": socket.gethostname(), "pid": 2**22 + 1,
        "started": 1.5, "heartbeat": time.time(), "shard": None,
    }  # fmt: skip
    storage.put(OTHER, json.dumps(owner).encode())
    with pytest.raises(Locked, match="still running"):
        Lock(storage).__enter__()


def test_a_table_is_a_boot_and_a_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("namespaces are Linux's")
    mine = process_table()
    assert mine is not None
    assert mine.split()[0] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    proc = tmp_path / "proc"
    (proc / "self-is/ns").mkdir(parents=True)
    (proc / "sys/kernel/random").mkdir(parents=True)
    monkeypatch.setattr(liveness, "_PROC", proc)
    assert process_table() is None
    (proc / "self").symlink_to(str(os.getpid()))
    assert process_table() is None, "no boot id"
    (proc / "sys/kernel/random/boot_id").write_text("a\n")
    assert process_table() is None, "no namespace"
    (proc / str(os.getpid()) / "ns").mkdir(parents=True)
    (proc / "self/ns/pid").write_text("")
    found = process_table()
    assert found is not None
    assert found.startswith("a pid ")
    # The table of /proc is another one's: its numbers mean others.
    (proc / "self").unlink()
    (proc / "self").symlink_to("1")
    assert process_table() is None


def test_a_hidden_process_is_not_a_dead_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform != "linux":
        pytest.skip("/proc is Linux's")
    table, when = process_table(), started(os.getpid())
    monkeypatch.setattr(liveness, "process_table", lambda: table)
    monkeypatch.setattr(liveness, "_PROC", tmp_path)
    assert runs_still(table, os.getpid(), when) is None
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert runs_still(table, child.pid, when) is False


def test_a_synchronisers_copy_of_a_lock_is_no_owner(storage: Storage) -> None:
    for name in (
        "x (conflict copy).json",
        "x.sync-conflict-20260101-120000-ABC.json",
        "x (1).json",
    ):
        forge(storage, f"locks/{name.replace('x', '0' * 32)}")
    with Lock(storage) as mine:
        assert mine.key in storage.keys("locks/")


def test_a_clock_far_ahead_does_not_keep_a_dead_owner(storage: Storage) -> None:
    forge(storage, table="elsewhere", heartbeat=time.time() + 10_000.0)
    taken = Lock(storage)
    taken.beat = 0.02
    with taken:
        assert storage.keys("locks/") == [taken.key]


def test_the_last_shard_removes_what_another_left_half_written(
    storage: Storage, tmp_path: Path
) -> None:
    storage.put("signals/phi/c/0/0/0", b"whole")
    half = tmp_path / "run" / "signals/phi/c/0/0/.0.old.partial"
    half.write_bytes(b"half")
    os.utime(half, (time.time() - 30.0,) * 2)
    first, second = Lock(storage, (1, 2)).__enter__(), Lock(storage, (2, 2)).__enter__()
    first.__exit__(None, None, None)
    assert half.exists(), "the other shard may be writing it"
    second.__exit__(None, None, None)
    assert not half.exists()


def test_an_owner_elsewhere_lives_by_its_heartbeat(storage: Storage) -> None:
    forge(storage, host="elsewhere", table="elsewhere", pid=1)
    with pytest.raises(Locked, match="process 1 on elsewhere, still running"):
        Lock(storage).__enter__()


def test_an_owner_elsewhere_whose_heart_stopped_is_replaced(storage: Storage) -> None:
    forge(storage, host="elsewhere", table="elsewhere", pid=1, heartbeat=time.time() - 100.0)
    lock = Lock(storage)
    lock.beat = 0.02
    with lock:
        assert storage.keys("locks/") == [lock.key]


def test_an_owner_elsewhere_with_a_slow_clock_lives_as_long_as_it_beats(storage: Storage) -> None:
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.02):
            forge(storage, host="elsewhere", table="elsewhere", heartbeat=time.time() - 1000.0)

    forge(storage, host="elsewhere", table="elsewhere", heartbeat=time.time() - 1000.0)
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
        storage.put(OTHER, raw)
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


def test_claims_that_were_cut_off_go_with_the_owner(tmp_path: Path) -> None:
    """Who is killed in the middle of a first claim leaves no owner whose place could be taken over."""
    storage = Storage(tmp_path / "run", write=True)
    old, young = ([tmp_path / "run" / p / f".{name}.json.1.partial" for p in ("locks", "locks-founding")] for name in "ab")  # fmt: skip
    with Lock(storage):
        for path in (*old, *young, tmp_path / "run" / ".k.1.partial"):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"half")
        for path in old:
            os.utime(path, (time.time() - 5,) * 2)
    left = sorted(p.name for p in (tmp_path / "run").rglob("*.partial"))
    assert left == [".b.json.1.partial", ".b.json.1.partial", ".k.1.partial"]
