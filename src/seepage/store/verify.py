"""Whether a run folder is what was written: every file recomputed, what is wrong named, one digest.

Reads everything once and changes nothing. `seepage verify` prints it, `seepage repair` removes what
it names and trains those runs again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from seepage.errors import CorruptStore, InputError
from seepage.plan import SubsetPlan
from seepage.store import arrays
from seepage.store.arrays import chunk_digest, unpack
from seepage.store.derived import derived_damage
from seepage.store.evidence import (
    ARRAYS,
    FOREIGN,
    array_parts,
    check_manifest,
    check_record,
    evidence_digest,
    holders,
    planned_runs,
    stamp,
    text_parts,
    unchecked,
)
from seepage.store.keys import (
    DERIVED,
    OLDER_DERIVED,
    is_beside,
    record_key,
    row_of,
    weights_key,
)
from seepage.store.storage import Storage

if TYPE_CHECKING:
    import zarr

__all__ = ["Damage", "Verification", "sound_manifest", "verify"]

Kind = Literal["missing", "changed", "swapped", "foreign"]
_MANIFESTS = ("manifest.json", "manifest.copy.json")
_AT_ONCE = 2**28
_OURS = ("plan/", "data/", "records/", "signals/", "weights/")
_DERIVED = (f"{DERIVED}/", f"{OLDER_DERIVED}/")
_BESIDE = ("manifest", "state/", "sessions/", "locks", *_DERIVED)


@dataclass(frozen=True)
class Damage:
    """One key that is not as it was written.

    kind: "missing", it is not there; "changed", its bytes fail their own checksum; "swapped", it is
    sound but another run's or checkpoint's of this folder; "foreign", it is sound but nothing that
    this folder's records or manifest know: another folder's, or an older copy. what: in words.
    """

    key: str
    kind: Kind
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.key}: {self.what}"


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    planned: runs of the plan, of an open one those begun so far; done, failed, missing: plan rows by whether a record is there and
    what it says; chunks, weights: how many were compared with a digest. digest: one SHA-256 over
    the evidence as it lies there, `Run.digest` when nothing is wrong. created, versions, hardware,
    code: who wrote it, from the manifest. unchecked:
    parts that an older folder holds no digest of. unknown: files that belong to nothing.
    """

    path: str
    format: int
    planned: int
    samples: int
    checkpoints: int
    signals: tuple[str, ...]
    done: tuple[int, ...]
    failed: tuple[int, ...]
    missing: tuple[int, ...]
    chunks: int
    weights: int
    digest: str
    damage: tuple[Damage, ...]
    unchecked: tuple[str, ...]
    unknown: tuple[str, ...]
    created: str = ""
    code: str = ""
    versions: Mapping[str, Any] = field(default_factory=dict)
    hardware: Mapping[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether every planned run ended and every file is as it was written."""
        return not self.damage and not self.missing


def _candidates(storage: Storage) -> tuple[dict[str, dict[str, Any]], list[Damage]]:
    """The manifest and its copy as far as they are sound, and what is wrong with the others."""
    found: dict[str, dict[str, Any]] = {}
    damage: list[Damage] = []
    for key in _MANIFESTS:
        try:
            content = storage.get_json(key)
        except CorruptStore:
            damage.append(Damage(key, "changed", "its bytes are not those that were written"))
            continue
        if content is None:
            damage.append(Damage(key, "missing", "it is not there"))
        elif not isinstance(content, dict):
            damage.append(Damage(key, "changed", "it is no manifest"))
        else:
            found[key] = content
    if not found:
        if {d.kind for d in damage} == {"missing"}:
            raise InputError(
                f"{storage.where}: expected a run folder with a manifest.json, found none; "
                "train one with `seepage audit` or check the path"
            )
        raise InputError(
            f"{storage.where}: expected a manifest or its copy, both are lost; "
            "train again in another folder"
        )
    return found, damage


def sound_manifest(storage: Storage) -> tuple[dict[str, Any], list[Damage]]:
    """The manifest that the records were written under, from its copy if it must be.

    Raises InputError when both are lost, or written by another version.
    """
    found, damage = _candidates(storage)
    chosen = next(iter(found))
    if len(found) == 2 and stamp(found[_MANIFESTS[0]]) != stamp(found[_MANIFESTS[1]]):
        votes = _stamps(storage)
        chosen = max(found, key=lambda k: votes[stamp(found[k])])
        other = _MANIFESTS[1 - _MANIFESTS.index(chosen)]
        damage.append(Damage(other, "foreign", f"it differs from {chosen}, which the records name"))
    check_manifest(storage.where, found[chosen])
    return found[chosen], damage


def _stamps(storage: Storage) -> Counter[str]:
    """How many records were written under each manifest."""
    votes: Counter[str] = Counter()
    for key in storage.keys("records/"):
        if row_of(key) is None:
            continue
        try:
            record = storage.get_json(key)
        except CorruptStore:
            continue
        if isinstance(record, dict) and "manifest" in record:
            votes[str(record["manifest"])] += 1
    return votes


def verify(where: str | os.PathLike[str]) -> Verification:
    """Recompute every digest of a run folder; nothing is written.

    What an unfinished run has not written yet is no damage: such runs are `missing`. Raises
    InputError when there is no run folder, or nothing that says what it should hold.
    """
    storage = Storage(where)
    manifest, damage = sound_manifest(storage)
    look = _Look(storage, manifest, damage)
    content = look.content()
    look.records()
    look.derived()
    return Verification(
        path=storage.where,
        format=manifest["format"],
        planned=planned_runs(manifest, look.ended),
        samples=manifest["data"]["samples"],
        checkpoints=len(manifest["checkpoints"]),
        signals=tuple(manifest["signals"]),
        done=tuple(r for r, rec in sorted(look.ended.items()) if rec.get("status") == "done"),
        failed=tuple(r for r, rec in sorted(look.ended.items()) if rec.get("status") == "failed"),
        missing=look.missing(),
        chunks=look.chunks,
        weights=look.weights,
        digest=evidence_digest(manifest, content, look.ended),
        damage=tuple(look.damage),
        unchecked=unchecked(manifest),
        unknown=look.unknown(),
        created=str(manifest.get("created", "")),
        code=str(manifest.get("provenance", {}).get("code", "")),
        versions=manifest.get("versions", {}),
        hardware=manifest.get("hardware", {}),
    )


class _Look:
    """One pass over a folder: what it holds, and what is wrong with it so far."""

    def __init__(self, storage: Storage, manifest: dict[str, Any], damage: list[Damage]) -> None:
        self.storage, self.manifest, self.damage = storage, manifest, damage
        self.keys = storage.keys("")
        self.held = set(self.keys)
        self.ended: dict[int, dict[str, Any]] = {}
        self.chunks = self.weights = 0
        self.sound: dict[str, zarr.Array[Any]] = {}
        for name, description in manifest["descriptions"].items():
            try:
                self.sound[name] = arrays.open_array(storage, name, description)
            except CorruptStore:
                key = f"{name}/zarr.json"
                there = key in self.held
                what = "it is not the description that was written" if there else "it is not there"
                self._wrong(key, "changed" if there else "missing", what)
                self.sound[name] = _read_through(storage, name, description)

    def _wrong(self, key: str, kind: Kind, what: str) -> None:
        self.damage.append(Damage(key, kind, what))

    def _absent(self, key: str) -> None:
        self._wrong(key, "missing", "it is not there")

    def _changed(self, key: str) -> None:
        self._wrong(key, "changed", "its bytes are not those that were written")

    def content(self) -> dict[str, str | None]:
        """Digests of plan and pool as they lie there, compared with the manifest."""
        found: dict[str, str | None] = {}
        expected = self.manifest.get("content", {})
        values: dict[str, Any] = {}
        for name in array_parts(self.manifest):
            key = self._chunk(name)
            found[name] = None
            if key not in self.held:
                self._absent(key)
                continue
            try:
                held = arrays.sized(self.storage, self.sound[name], key)
                values[name] = np.asarray(self.sound[name][...]) if held else None
            except Exception:
                held = False
            if not held:
                values.pop(name, None)
                self._changed(key)
                continue
            found[name] = chunk_digest(values[name])
            if found[name] != expected.get(name, found[name]):
                self._wrong(key, "foreign", "the manifest has another digest of it")
        if not expected and not set(ARRAYS[:2]) & set(unchecked(self.manifest)):
            self._older_plan(values)
        for name in text_parts(self.manifest):
            key = f"{name}.json"
            found[name] = None
            try:
                text, digest = self.storage.get_checked(key)
            except CorruptStore:
                self._changed(key)
                continue
            if text is None:
                self._absent(key)
                continue
            found[name] = digest
            if digest != expected.get(name, digest):
                self._wrong(key, "foreign", "the manifest has another digest of it")
        return found

    def _chunk(self, name: str) -> str:
        return f"{name}/c" + "/0" * self.sound[name].ndim

    def _older_plan(self, values: Mapping[str, Any]) -> None:
        """Membership and seeds under the one digest that older folders have of both."""
        if not {"plan/member", "plan/seeds"} <= values.keys():
            return
        member = values["plan/member"].astype(np.bool_)
        seeds = values["plan/seeds"].astype(np.uint64)
        try:
            held = SubsetPlan(member, seeds, "", 0).digest == self.manifest["plan"]["digest"]
        except InputError:
            held = False
        if not held:
            for name in ARRAYS[:2]:
                what = "membership and seeds together have another digest in the manifest"
                self._wrong(self._chunk(name), "foreign", what)

    def records(self) -> None:
        """Every record, and the chunks and weights of those that are this folder's."""
        good: dict[int, dict[str, Any]] = {}
        for key in self.keys:
            row = row_of(key) if key.startswith("records/") else None
            if row is None or key != record_key(row):
                continue
            try:
                record = self.storage.get_json(key)
            except CorruptStore:
                self._changed(key)
                self.ended[row] = {"status": "damaged"}
                continue
            self.ended[row] = record if isinstance(record, dict) else {}
            why = check_record(self.manifest, row, record)
            if why is None:
                good[row] = record
            else:
                here = self.ended[row].get("manifest") == stamp(self.manifest)
                self._wrong(key, "swapped" if here else "foreign", why)
        self._of = holders(good)
        for row, record in good.items():
            if record["status"] == "done":
                self._chunks(row, record["digests"])
                self._weights(row, record.get("weights"))
        for key in self.keys:
            # Of unfinished runs, and of folders whose records do not name them.
            row = row_of(key) if key.startswith("weights/") else None
            if row is not None and "weights" not in good.get(row, {}):
                self.weights += 1
                if not _opens(self.storage.get(key), key):
                    self._changed(key)

    def _other(self, key: str, digest: str) -> None:
        """A sound file in the place of another one."""
        of = self._of.get(digest)
        if of is None:
            self._wrong(key, "foreign", f"it is {FOREIGN}")
        else:
            self._wrong(key, "swapped", f"it is {of}")

    def _chunks(self, row: int, written: Mapping[str, list[str]]) -> None:
        for signal, digests in written.items():
            array = self.sound[f"signals/{signal}"]
            values: Any = None
            keys = [
                arrays.chunk_key(f"signals/{signal}", row, t, array.ndim)
                for t in range(len(digests))
            ]
            sized = [k in self.held and arrays.sized(self.storage, array, k) for k in keys]
            if all(sized) and array.nbytes // max(1, array.shape[0]) <= _AT_ONCE:
                # Many chunks together are read much faster than one by one.
                with contextlib.suppress(Exception):
                    values = np.asarray(array[row])
            for t, (key, digest) in enumerate(zip(keys, digests, strict=True)):
                self.chunks += 1
                if key not in self.held:
                    self._absent(key)
                    continue
                if not sized[t]:
                    self._changed(key)
                    continue
                try:
                    found = chunk_digest(np.asarray(array[row, t]) if values is None else values[t])
                except Exception:
                    self._changed(key)
                    continue
                if found != digest:
                    self._other(key, found)

    def _weights(self, row: int, written: Mapping[str, str] | None) -> None:
        if written is None:
            return
        wanted = {weights_key(row, int(t)): digest for t, digest in written.items()}
        there = {k for k in self.keys if k.startswith("weights/") and row_of(k) == row}
        for key in sorted(wanted.keys() | there):
            self.weights += 1
            raw = self.storage.get(key)
            if raw is None:
                self._absent(key)
            elif not _opens(raw, key):
                self._changed(key)
            elif hashlib.sha256(raw).hexdigest() != wanted.get(key):
                self._other(key, hashlib.sha256(raw).hexdigest())

    def derived(self) -> None:
        """What later commands found out: no evidence, but shown by the next report."""
        for key in self.keys:
            if not (key.startswith(_DERIVED) and key.endswith(".json")):
                continue
            match derived_damage(self.storage, self.manifest, key):
                case "changed":
                    self._changed(key)
                case "foreign":
                    self._wrong(key, "foreign", "it was found out about another folder")

    def missing(self) -> tuple[int, ...]:
        """Planned runs without a record."""
        planned = planned_runs(self.manifest, self.ended)
        return tuple(r for r in range(planned) if r not in self.ended)

    def unknown(self) -> tuple[str, ...]:
        """Files among those of a run folder that belong to nothing, such as a synchroniser's copies."""
        fixed = {f"{n}.json" for n in text_parts(self.manifest)}
        fixed |= {f"{n}/zarr.json" for n in self.sound} | {
            self._chunk(n) for n in array_parts(self.manifest)
        }
        fixed |= {d.key for d in self.damage}
        ours = (k for k in self.keys if k.startswith(_OURS) and k not in fixed)
        beside = (k for k in self.keys if k.startswith(_BESIDE) and not is_beside(k))
        return (*(k for k in ours if not self._planned(k)), *beside)

    def _planned(self, key: str) -> bool:
        """Whether a key is that of a record, a chunk or weights that the manifest plans."""
        row = row_of(key)
        if row is None or row >= self.manifest["plan"]["models"]:
            return False
        if key.startswith("records/"):
            return key == record_key(row)
        times = len(self.manifest["checkpoints"])
        parts = key.split("/")
        if key.startswith("weights/"):
            t = int(parts[2].removesuffix(".safetensors"))
            return t < times and key == weights_key(row, t)
        array, t = self.sound.get(f"signals/{parts[1]}"), int(parts[4])
        name = f"signals/{parts[1]}"
        return array is not None and t < times and key == arrays.chunk_key(name, row, t, array.ndim)


def _opens(raw: bytes | None, key: str) -> bool:
    try:
        unpack(raw or b"", key)
    except CorruptStore:
        return False
    return True


def _read_through(storage: Storage, name: str, description: str) -> zarr.Array[Any]:
    """The array behind a sound description, its chunks still those of the folder."""
    import zarr
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync
    from zarr.storage import MemoryStore

    memory = MemoryStore()
    prototype = default_buffer_prototype().buffer
    values = {f"{name}/zarr.json": description.encode()}
    values |= {key: storage.get(key) or b"" for key in storage.keys(f"{name}/c/")}
    for key, raw in values.items():
        sync(memory.set(key, prototype.from_bytes(raw)))
    return zarr.open_array(store=memory, path=name, mode="r")
