"""Finding bytes that changed in a run folder, and removing just enough to train them again."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from seepage.errors import CorruptStore, InputError
from seepage.store import arrays
from seepage.store.arrays import unpack
from seepage.store.lock import Lock
from seepage.store.run import record_key
from seepage.store.storage import Storage

__all__ = ["find_damage", "forget"]

_STATIC = ("plan/member", "plan/seeds", "data/labels")


def _manifest(storage: Storage) -> tuple[dict[str, Any], list[str]]:
    """The manifest, from its copy if it must be, and the keys of those that are damaged."""
    damaged, whole = [], None
    for key in ("manifest.json", "manifest.copy.json"):
        try:
            content = storage.get_json(key)
        except CorruptStore:
            content = None
        if content is None:
            damaged.append(key)
        else:
            whole = content
    if whole is None:
        raise InputError(
            f"{storage.where}: expected a manifest or its copy, both are lost; "
            "train again in another folder"
        )
    return whole, damaged


def find_damage(where: str) -> list[str]:
    """Keys whose bytes are absent or not those that were written, every chunk read once.

    Looks at complete runs only: what an unfinished run has not written yet is no damage.
    """
    storage = Storage(where)
    manifest, damaged = _manifest(storage)
    keys = storage.keys("")
    held = set(keys)
    sound: dict[str, zarr.Array[Any]] = {}
    for name, description in manifest["descriptions"].items():
        try:
            sound[name] = arrays.open_array(storage, name, description)
        except CorruptStore:
            damaged.append(f"{name}/zarr.json")
            sound[name] = _read_through(storage, name, description)
    for name in _STATIC:
        chunk = f"{name}/c" + "/0" * sound[name].ndim
        if chunk not in held or not _readable(sound[name], ...):
            damaged.append(chunk)
    described = ["data/ids.json"]
    if manifest["data"].get("subjects") is not None:
        described.append("data/groups.json")
    for key in [*described, *(k for k in keys if k.startswith("records/"))]:
        try:
            record = storage.get_json(key)
        except CorruptStore:
            record = None
        if record is None:
            damaged.append(key)
        elif key.startswith("records/") and record["status"] == "done":
            damaged += _damaged_chunks(sound, _row(key), record["digests"])
    return damaged + [k for k in keys if k.startswith("weights/") and not _whole(storage, k)]


def _row(key: str) -> int:
    """Plan row of a record, of kept weights, or of a signal's chunk."""
    if key.startswith("signals/"):
        return int(key.split("/c/")[1].split("/")[0])
    return int(key.split("/")[1].removesuffix(".json"))


def _readable(array: zarr.Array[Any], at: Any) -> bool:
    try:
        _ = np.asarray(array[at])
    except Exception:
        return False
    return True


def _whole(storage: Storage, key: str) -> bool:
    raw = storage.get(key)
    try:
        unpack(raw or b"", key)
    except CorruptStore:
        return False
    return True


def _damaged_chunks(
    sound: dict[str, zarr.Array[Any]], row: int, written: dict[str, list[str]]
) -> list[str]:
    damaged = []
    for signal, digests in written.items():
        array = sound[f"signals/{signal}"]
        for t, digest in enumerate(digests):
            try:
                held = arrays.chunk_digest(np.asarray(array[row, t])) == digest
            except Exception:
                held = False
            if not held:
                damaged.append(arrays.chunk_key(f"signals/{signal}", row, t, array.ndim))
    return damaged


def _read_through(storage: Storage, name: str, description: str) -> zarr.Array[Any]:
    """The array behind a sound description, its chunks still those of the folder."""
    memory = MemoryStore()
    prototype = default_buffer_prototype().buffer
    values = {f"{name}/zarr.json": description.encode()}
    values |= {key: storage.get(key) or b"" for key in storage.keys(f"{name}/c/")}
    for key, raw in values.items():
        sync(memory.set(key, prototype.from_bytes(raw)))
    return zarr.open_array(store=memory, path=name, mode="r")


def forget(where: str, damage: list[str]) -> dict[int, dict[str, list[str]]]:
    """Remove damaged keys and the records of their runs, so that training makes them again.

    Returns the digests that the runs had, by plan row; empty where the record itself was lost.
    """
    storage = Storage(where, write=True)
    manifest, _ = _manifest(storage)
    lost: dict[int, dict[str, list[str]]] = {}
    with Lock(storage):
        for key in damage:
            if key.startswith("manifest"):
                storage.put_json(key, manifest)
            elif key.endswith("/zarr.json"):
                text = manifest["descriptions"][key.removesuffix("/zarr.json")]
                storage.put(key, text.encode())
            else:
                if key.startswith(("records/", "signals/", "weights/")):
                    _forget_run(storage, _row(key), lost)
                storage.delete(key)
    return lost


def _forget_run(storage: Storage, row: int, lost: dict[int, dict[str, list[str]]]) -> None:
    if row in lost:
        return
    try:
        record = storage.get_json(record_key(row))
    except CorruptStore:
        record = None
    lost[row] = {} if record is None else record.get("digests", {})
    storage.delete(record_key(row))
