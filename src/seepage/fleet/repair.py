"""Finding bytes that changed in a run folder, and forgetting just enough to train them again."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from zarr.storage import MemoryStore

from seepage.errors import CorruptStore, InputError
from seepage.fleet.folder import expected_arrays
from seepage.store import arrays
from seepage.store.run import record_key
from seepage.store.storage import Storage

__all__ = ["find_damage", "forget"]


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


def _description(name: str, layout: tuple[tuple[int, ...], str, tuple[int, ...]]) -> bytes:
    """What the array's zarr.json must be."""
    memory = Storage.__new__(Storage)
    memory.store = MemoryStore()
    memory.where, memory.local, memory.write = "memory", None, True
    arrays.create(memory, name, *layout)
    raw = memory.get(f"{name}/zarr.json")
    assert raw is not None
    return raw


def find_damage(where: str) -> list[str]:
    """Keys whose bytes are absent or not those that were written, every chunk read once.

    Looks at complete runs only: what an unfinished run has not written yet is no damage.
    """
    storage = Storage(where)
    manifest, damaged = _manifest(storage)
    layout = expected_arrays(manifest)
    keys = set(storage.keys(""))
    broken = {
        n for n, how in layout.items() if storage.get(f"{n}/zarr.json") != _description(n, how)
    }
    damaged += [f"{n}/zarr.json" for n in sorted(broken)]
    for name in ("plan/member", "plan/seeds", "data/labels"):
        chunk = f"{name}/c/" + "/".join("0" * len(layout[name][0]))
        if name in broken or chunk not in keys:
            damaged += [chunk] if chunk not in keys else []
            continue
        try:
            _ = np.asarray(arrays.open_array(storage, name)[...])
        except Exception:
            damaged.append(chunk)
    for key in sorted(k for k in keys if k == "data/ids.json" or k.startswith("records/")):
        try:
            record = storage.get_json(key)
        except CorruptStore:
            damaged.append(key)
            continue
        if key.startswith("records/") and record["status"] == "done":
            row = int(key.removeprefix("records/").removesuffix(".json"))
            damaged += _damaged_chunks(storage, layout, broken, row, record)
    return damaged


def _damaged_chunks(
    storage: Storage, layout: dict[str, Any], broken: set[str], row: int, record: dict[str, Any]
) -> list[str]:
    damaged = []
    for signal, digests in record["digests"].items():
        name = f"signals/{signal}"
        array = _sound(storage, name, layout[name]) if name in broken else None
        array = array if array is not None else arrays.open_array(storage, name)
        for t, digest in enumerate(digests):
            try:
                held = arrays.chunk_digest(np.asarray(array[row, t])) == digest
            except Exception:
                held = False
            if not held:
                damaged.append(arrays.chunk_key(name, row, t, array.ndim))
    return damaged


def _sound(storage: Storage, name: str, how: Any) -> zarr.Array[Any]:
    """The array read through a sound description, its chunks still those of the folder."""
    memory = MemoryStore()
    over = Storage.__new__(Storage)
    over.store, over.where, over.local, over.write = memory, "memory", None, True
    arrays.create(over, name, *how)
    for key in storage.keys(f"{name}/c/"):
        raw = storage.get(key)
        if raw is not None:
            over.put(key, raw)
    return arrays.open_array(over, name)


def forget(where: str, damage: list[str]) -> dict[int, dict[str, list[str]]]:
    """Remove damaged keys and the records of their runs, so that training makes them again.

    Returns the digests that the runs had, by plan row; empty where the record itself was lost.
    """
    storage = Storage(where, write=True)
    manifest, _ = _manifest(storage)
    layout = expected_arrays(manifest)
    lost: dict[int, dict[str, list[str]]] = {}
    for key in damage:
        if key.startswith("manifest"):
            storage.put_json(key, manifest)
        elif key.endswith("/zarr.json"):
            name = key.removesuffix("/zarr.json")
            storage.put(key, _description(name, layout[name]))
        else:
            if key.startswith("records/"):
                lost.setdefault(int(key.removeprefix("records/").removesuffix(".json")), {})
            elif key.startswith("signals/"):
                row = int(key.split("/c/")[1].split("/")[0])
                record = storage.get_json(record_key(row)) if row not in lost else None
                if record is not None:
                    lost[row] = record["digests"]
                    storage.delete(record_key(row))
            storage.delete(key)
    return lost
