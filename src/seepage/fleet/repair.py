"""Removing what `seepage.store.verify` names, just enough of it to train it again."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from seepage.errors import CorruptStore, InputError, Locked, StorageFailed
from seepage.fleet.saved import remove_states
from seepage.store.evidence import read_records
from seepage.store.keys import record_key, row_of
from seepage.store.lock import Lock
from seepage.store.storage import Storage
from seepage.store.verify import Damage, sound_manifest, verify

__all__ = ["find_damage", "forget", "remove_left_over"]


def find_damage(where: str) -> list[str]:
    """Keys that are absent, damaged, or not those that were written, every chunk read once.

    Looks at complete runs only: what an unfinished run has not written yet is no damage.
    """
    return [d.key for d in verify(where).damage]


def forget(where: str, damage: Sequence[str | Damage]) -> dict[int, dict[str, list[str]]]:
    """Remove damaged keys and the records of their runs, so that training makes them again.

    Returns the digests that the runs had, by plan row; empty where the record itself was lost.
    """
    storage = Storage(where, write=True)
    manifest, _ = sound_manifest(storage)
    lost: dict[int, dict[str, list[str]]] = {}
    with Lock(storage):
        for key in (d.key if isinstance(d, Damage) else d for d in damage):
            if key.startswith("manifest"):
                storage.put_json(key, manifest)
            elif key.endswith("/zarr.json"):
                text = manifest["descriptions"][key.removesuffix("/zarr.json")]
                storage.put(key, text.encode())
            else:
                row = row_of(key)
                if row is not None:
                    _forget_run(storage, row, lost)
                storage.delete(key)
    return lost


def remove_left_over(where: str) -> None:
    """Remove what a killed owner left in a folder that is whole: claims, states, half-written files.

    Nothing where another owns the folder or it cannot be written to.
    """
    with contextlib.suppress(Locked, InputError, StorageFailed):
        storage = Storage(where, write=True)
        with Lock(storage):
            remove_states(storage, read_records(storage))


def _forget_run(storage: Storage, row: int, lost: dict[int, dict[str, list[str]]]) -> None:
    if row in lost:
        return
    try:
        record = storage.get_json(record_key(row))
    except CorruptStore:
        record = None
    # Another run's record says nothing of what this one had.
    own = record is not None and record.get("run", row) == row
    lost[row] = record.get("digests", {}) if own else {}
    storage.delete(record_key(row))
