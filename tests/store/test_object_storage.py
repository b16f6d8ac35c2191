"""The store on S3-compatible storage: a real server on this machine, spoken to over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from seepage.errors import InputError, Locked, StorageFailed
from seepage.fleet import Silent
from seepage.fleet.repair import find_damage, forget
from seepage.store import open_run
from seepage.store.lock import Lock
from seepage.store.storage import Storage
from tiny_fleet import fleet

pytestmark = pytest.mark.slow
pytest.importorskip("s3fs", reason="the extra seepage[s3] is not installed")
server = pytest.importorskip("moto.server", reason="moto[server] is not installed")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import boto3

    moto = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="bucket")
    yield "s3://bucket"
    moto.stop()


def test_keys(bucket: str) -> None:
    storage = Storage(f"{bucket}/run", write=True)
    assert storage.keys("") == []
    assert storage.get("a/b") is None
    storage.put("a/b", b"1")
    storage.put("a/b", b"22")
    storage.put_json("a/c.json", {"x": 1})
    assert storage.get("a/b") == b"22"
    assert storage.keys("a/") == ["a/b", "a/c.json"]
    assert storage.keys("") == ["a/b", "a/c.json"]
    assert storage.exists("a/b")
    storage.delete("a/b")
    storage.delete("a/b")
    assert not storage.exists("a/b")
    # What one process writes another sees at once: nothing is answered from a listing kept aside.
    other = Storage(f"{bucket}/run", write=True)
    other.put("a/d", b"3")
    assert storage.keys("a/") == ["a/c.json", "a/d"]
    assert storage.get("a/d") == b"3"


def test_locks(bucket: str) -> None:
    storage = Storage(f"{bucket}/run", write=True)
    with Lock(storage), pytest.raises(Locked, match="still running"):
        Lock(Storage(f"{bucket}/run", write=True)).__enter__()
    assert storage.keys("locks/") == []
    dead = {"token": "0", "state": "held", "host": "elsewhere", "pid": 1, "started": 0.0,
            "heartbeat": time.time() - 100, "shard": None}  # fmt: skip
    storage.put("locks/0.json", json.dumps(dead).encode())
    lock = Lock(storage)
    lock.beat = 0.05
    with lock:
        assert storage.keys("locks/") == [lock.key]


def test_train_interrupt_resume_open_repair_report(
    bucket: str, trained: Path, tmp_path: Path
) -> None:
    from seepage.attacks import LOSS
    from seepage.report import write_report

    class Interrupt(Silent):
        def done(self, row: int, record: dict) -> None:
            if row == 1:
                raise KeyboardInterrupt

    out = f"{bucket}/audits/run"
    with pytest.raises(KeyboardInterrupt):
        fleet(out, watcher=Interrupt())
    run = fleet(out)
    local = open_run(trained)
    assert run.models.tolist() == [0, 1, 2, 3]
    for name in local.signals:
        np.testing.assert_array_equal(run.signal(name), local.signal(name))
    assert run.verify() == []
    weights = run.weights(1)
    assert weights is not None

    storage = Storage(out, write=True)
    key = "signals/phi/c/2/1/0"
    raw = storage.get(key)
    assert raw is not None
    storage.put(key, raw[:7] + bytes([raw[7] ^ 1]) + raw[8:])
    damage = find_damage(out)
    assert damage == [key]
    forget(out, damage)
    fleet(out)
    assert storage.get(key) == raw

    other = f"{bucket}/audits/report"
    run = fleet(other, signals=("loss", "phi", "correct"))
    page = write_report(open_run(other), tmp_path / "report.html", attacks=[LOSS()])
    assert Path(page).stat().st_size > 1000


def test_buckets_and_credentials_that_are_none(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises((StorageFailed, InputError), match="absent"):
        fleet("s3://absent/run")
    with pytest.raises(InputError, match=r"expected a run folder with a manifest.json, found none"):
        open_run(f"{bucket}/nothing")
