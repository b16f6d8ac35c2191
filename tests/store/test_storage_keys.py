"""Keys hold what was there before or the whole new value, and notice changed bytes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.core.sync import sync

import seepage
from seepage.errors import CorruptStore, InputError, Locked, StorageFailed
from seepage.store import arrays
from seepage.store.arrays import pack, unpack
from seepage.store.durable import DurableStore
from seepage.store.lock import Lock
from seepage.store.storage import Storage, json_digest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "run", write=True)


def test_bytes_come_back(storage: Storage) -> None:
    assert storage.get("a/b") is None
    storage.put("a/b", b"1")
    storage.put("a/b", b"22")
    storage.put("a/c", b"")
    assert storage.get("a/b") == b"22"
    assert storage.get("a/c") == b""
    assert storage.keys("a/") == ["a/b", "a/c"]
    assert storage.keys("z/") == []
    assert storage.exists("a/b")
    storage.delete("a/b")
    storage.delete("a/b")
    assert not storage.exists("a/b")


@given(JSON)
@settings(max_examples=30, deadline=None)
def test_json_comes_back(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    storage = Storage(tmp_path_factory.mktemp("s"), write=True)
    storage.put_json("v.json", value)
    assert storage.get_json("v.json") == value


def test_json_notices_every_changed_byte(storage: Storage, tmp_path: Path) -> None:
    storage.put_json("v.json", {"epochs": [1, 2.5], "name": "ü"})
    path = tmp_path / "run" / "v.json"
    raw = path.read_bytes()
    for i in range(len(raw)):
        path.write_bytes(raw[:i] + bytes([raw[i] ^ 1]) + raw[i + 1 :])
        if raw[i : i + 1].isspace():
            continue  # blanks between values may carry no meaning
        with pytest.raises(CorruptStore, match=r"v.json: its bytes are not those that were"):
            storage.get_json("v.json")


def test_values_that_json_cannot_hold_are_our_bug(storage: Storage) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.put_json("v.json", float("nan"))


def test_a_full_disk_leaves_the_old_value_and_nothing_else(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.put("k", b"old")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFailed, match=r"k: expected to be written, got No space left"):
            storage.put("k", b"new")
    assert storage.get("k") == b"old"
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["k"]


def test_left_over_partial_files_are_no_keys(storage: Storage, tmp_path: Path) -> None:
    storage.put("a/k", b"1")
    (tmp_path / "run" / "a" / ".k.123.partial").write_bytes(b"half")
    assert storage.keys("") == ["a/k"]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(InputError, match="expected a folder that can be written, got Not a dir"):
        Storage(tmp_path / "file" / "run", write=True)
    with pytest.raises(InputError, match="expected a run folder, found none"):
        Storage(tmp_path / "absent")
    with pytest.raises(InputError, match="expected an address whose driver is installed"):
        Storage("gopher://bucket/run")


def test_no_write_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    # A test may run as root, whom no permission stops.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="expected write permission, got none"):
        Storage(tmp_path / "run", write=True)


def test_tensors_come_back_and_are_the_same_bytes_every_time() -> None:
    tensors = {"b": torch.arange(3), "a": torch.tensor([[0.5, -2.0]], dtype=torch.bfloat16)}
    raw = pack(tensors, {"epoch": 2})
    assert raw == pack(tensors, {"epoch": 2})
    found, facts = unpack(raw, "here")
    assert facts == {"epoch": 2}
    assert all(torch.equal(found[k], tensors[k]) for k in tensors)


def test_tensors_notice_every_changed_byte() -> None:
    raw = pack({"w": torch.arange(5.0)})
    for i in range(len(raw)):
        with pytest.raises(CorruptStore, match=r"^weights/0: its bytes are not"):
            unpack(raw[:i] + bytes([raw[i] ^ 16]) + raw[i + 1 :], "weights/0")
    with pytest.raises(CorruptStore, match="its bytes are not"):
        unpack(b"", "weights/0")


@pytest.mark.parametrize(
    "name", ["r", "c", "t", "s", "0", "ct", "loss", "phi", "records", "signals"]
)
def test_a_folder_may_have_any_name(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shutil.copytree(trained, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    run = seepage.open(name)
    assert len(run.models) == 4
    assert run.verify() == []
    assert Storage(name).keys("records/") == [f"records/{r:05d}.json" for r in range(4)]


@pytest.mark.parametrize(
    "name", ["r", "c", "t", "i", "s", "0", "1", "ct", "loss", "phi", "records", "data", "signals"]
)
def test_folder_names_that_occur_in_keys(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keys = ["data/labels/c/0", "locks/a.json", "records/00001.json", "signals/phi/c/0/1/0"]
    storage = Storage(name, write=True)
    for key in keys:
        storage.put(key, b"1")
    assert storage.keys("") == keys
    assert storage.keys("signals/") == keys[3:]
    # As a volume mounted at /c or /data is seen: nothing before the name.
    bare = DurableStore(Path(name))

    async def listed() -> list[str]:
        return sorted([k async for k in bare.list_prefix("data/")] + [k async for k in bare.list()])

    assert sync(listed()) == sorted([keys[0], *keys])
    with Lock(Storage(name, write=True)), pytest.raises(Locked):
        Lock(Storage(name, write=True)).__enter__()


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_a_chunk_is_what_zarr_writes_and_is_read_by_its_digest(
    storage: Storage, dtype: str
) -> None:
    values = np.arange(6).reshape(3, 2).astype(dtype)
    storage.put("a/zarr.json", arrays.describe((2, 2, 3, 2), dtype, (1, 1, 3, 2)).encode())
    array = arrays.open_array(storage, "a")
    array[1, 0] = values
    raw, digest = arrays.encode(array, values)
    assert raw == storage.get("a/c/1/0/0/0")
    row = np.array([1])
    found = arrays.read_written(storage, array, "a", row, 0, [digest])
    assert found is not None
    assert found.dtype == array.dtype
    assert (found[0] == values).all()
    for damaged in (raw[:-1], raw[:-1] + bytes([raw[-1] ^ 1]), bytes([raw[0] ^ 1]) + raw[1:]):
        storage.put("a/c/1/0/0/0", damaged)
        assert arrays.read_written(storage, array, "a", row, 0, [digest]) is None
    with pytest.raises(ValueError, match="one chunk"):
        arrays.encode(array, values[:1])


@settings(deadline=None)
@given(JSON | st.dictionaries(st.integers() | st.booleans(), JSON, max_size=2))
def test_digests_are_of_the_text_that_json_writes(value: Any) -> None:
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False)
    assert json_digest(value) == hashlib.sha256(text.encode()).hexdigest()
