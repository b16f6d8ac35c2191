"""What was found out about a run folder after training: beside its evidence, never part of it.

A derived result lies in `derived/` of the folder, with a digest of its own and the digest of the
manifest of the folder that it is about. A folder that cannot be written, a medium that was handed
over or somebody else's share, keeps its result in the user's cache instead.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import platformdirs

from seepage.errors import CorruptStore, InputError, StorageFailed
from seepage.store.evidence import stamp
from seepage.store.keys import DERIVED, derived_key, older_derived_key
from seepage.store.storage import Storage

__all__ = ["derived_damage", "keep_derived", "read_derived"]


def _elsewhere(manifest: Mapping[str, Any]) -> Path:
    """Where results about a folder are kept that cannot be written."""
    return platformdirs.user_cache_path("seepage") / DERIVED / stamp(manifest)


def keep_derived(
    where: str | os.PathLike[str],
    manifest: Mapping[str, Any],
    name: str,
    content: Mapping[str, Any],
) -> str:
    """Write a result about the run folder `where` and say where it lies now.

    content: JSON values. In the folder, or in the user's cache where the folder cannot be written.
    Raises StorageFailed when neither can.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     kept = keep_derived(folder, {"id": "1"}, "layers", {"layers": ["a"]})
    ...     kept.removeprefix(folder), read_derived(Storage(folder), {"id": "1"}, "layers")
    ('/derived/layers.json', {'layers': ['a']})
    """
    found = {**content, "manifest": stamp(manifest), "made": time.time()}
    key = derived_key(name)
    try:
        storage = Storage(where, write=True)
        storage.put_json(key, found)
    except (InputError, StorageFailed):
        storage, key = Storage(_elsewhere(manifest), write=True), f"{name}.json"
        storage.put_json(key, found)
    return f"{storage.where}/{key}"


def read_derived(storage: Storage, manifest: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The newest result of that name about a run folder, or None.

    Raises CorruptStore when its bytes changed, or it is about another folder.
    """
    found = [
        _checked(storage, manifest, key) for key in (derived_key(name), older_derived_key(name))
    ]
    cache = _elsewhere(manifest)
    if cache.is_dir():
        found.append(_checked(Storage(cache), manifest, f"{name}.json"))
    held = [f for f in found if f is not None]
    if not held:
        return None
    newest = max(held, key=lambda f: float(f.get("made", 0.0)))
    return {k: v for k, v in newest.items() if k not in ("manifest", "made")}


def _checked(storage: Storage, manifest: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    found, _ = storage.get_checked(key)
    if found is None:
        return None
    if not _is_about(found, manifest):
        raise CorruptStore(
            f"{storage.where}/{key}: expected what was found out about this folder, got that of "
            f"another; remove it or run `seepage {key.rpartition('/')[2].removesuffix('.json')}` again"
        )
    return dict(found)


def _is_about(found: Any, manifest: Mapping[str, Any]) -> bool:
    # Earlier versions did not write which folder a result is about.
    return isinstance(found, dict) and found.get("manifest") in (None, stamp(manifest))


def derived_damage(
    storage: Storage, manifest: Mapping[str, Any], key: str
) -> Literal["changed", "foreign"] | None:
    """Why the derived result under `key` is not one of this folder, or None: "changed", "foreign"."""
    try:
        found, _ = storage.get_checked(key)
    except CorruptStore:
        return "changed"
    return None if _is_about(found, manifest) else "foreign"
