"""A run folder as its readers see it: complete runs only, checked bytes, nothing to execute."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.errors import CorruptStore, InputError, nearest
from seepage.store import arrays, evidence
from seepage.store.arrays import chunk_digest, unpack
from seepage.store.computed import Evidenced, computed
from seepage.store.derived import read_derived
from seepage.store.keys import weights_key
from seepage.store.storage import Storage, json_digest
from seepage.store.verify import verify
from seepage.tokens import documents_at, follows

if TYPE_CHECKING:
    import torch

    from seepage.data import Dataset

__all__ = ["Run", "open_run"]


@dataclass(frozen=True)
class _Documents:
    """A signal of documents that was computed of those of tokens: (R, N[, F])."""

    values: AnyArray


class Run(Evidenced):
    """Signals, membership and manifest of a fleet of training runs.

    Rows are the usable runs: complete and not failed. `models` gives their plan rows. `reads`: the
    signals and checkpoints that were read so far. `recorded`: names of all that was written, of samples and
    of tokens.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.storage = Storage(self.path)
        manifest = self.storage.get_json("manifest.json")
        if manifest is None:
            raise InputError(
                f"{self.path}: expected a run folder with a manifest.json, found none; "
                "train one with `seepage audit` or check the path"
            )
        evidence.check_manifest(self.path, manifest)
        self.manifest: dict[str, Any] = manifest
        self.checkpoints: Float64Array = np.array(manifest["checkpoints"], dtype=np.float64)
        self.recorded: tuple[str, ...] = tuple(manifest["signals"])
        self.classes: tuple[str, ...] = tuple(manifest["data"]["classes"])
        self.records = evidence.read_records(self.storage, manifest)
        self.failed: dict[int, str] = {
            r: rec["why"] for r, rec in self.records.items() if rec["status"] == "failed"
        }
        done = sorted(r for r, rec in self.records.items() if rec["status"] == "done")
        self.models: Int64Array = np.array(done, dtype=np.int64)
        self._check_present()
        self._arrays: dict[str, Any] = {}
        self._documents: dict[tuple[str, int], tuple[AnyArray, set[tuple[str, int]]]] = {}
        self.reads: set[tuple[str, int]] = set()
        self._compared: set[tuple[str, int]] = set()
        # Compared, and now read in blocks, of which one alone cannot be.
        self._sound: set[tuple[str, int]] = set()

    def _check_present(self) -> None:
        held = set(self.storage.keys("signals/"))
        for name in self.recorded:
            axes = 2 + len(self.manifest["signals"][name]["shape"])
            for r in self.models.tolist():
                for t in range(len(self.checkpoints)):
                    key = arrays.chunk_key(f"signals/{name}", r, t, axes)
                    if key not in held:
                        raise CorruptStore(
                            f"{self.path}/{key}: expected a chunk of a complete run, found none; "
                            "run `seepage repair` on this folder"
                        )

    def __repr__(self) -> str:
        n = self.manifest["data"]["samples"]
        return (
            f"Run({self.path!r}: {len(self.models)} models × {len(self.checkpoints)} checkpoints "
            f"× {n} samples; {', '.join(self.signals)})"
        )

    @property
    def missing(self) -> tuple[int, ...]:
        """Plan rows of which there is no record: runs that were not trained yet, or were lost."""
        return tuple(r for r in range(self.planned) if r not in self.records)

    @property
    def planned(self) -> int:
        """How many runs should be there: those of the plan, or of an open one those begun so far."""
        return evidence.planned_runs(self.manifest, self.records)

    @cached_property
    def signals(self) -> tuple[str, ...]:
        """Signals of samples: those recorded, and of documents those that follow from their tokens."""
        of_samples = [s for s in self.recorded if not s.startswith("token_")]
        return (*of_samples, *follows(self))

    @cached_property
    def digest(self) -> str:
        """One SHA-256 over the evidence: manifest, plan, pool, and records with their digests.

        `seepage verify` recomputes it. It changes when a run ends. Raises CorruptStore when plan or
        pool are not those of the manifest; chunks are compared as they are read.
        """
        content: dict[str, str | None] = {}
        told = self.manifest.get("content", {})
        # What was read is what the manifest says, or an older folder says nothing of it.
        for name in evidence.array_parts(self.manifest):
            values = self._whole(name)
            content[name] = told.get(name) or chunk_digest(values)
        for name in evidence.text_parts(self.manifest):
            texts = evidence.read_texts(self.storage, self.manifest, name)
            content[name] = told.get(name) or json_digest(texts)
        return evidence.evidence_digest(self.manifest, content, self.records)

    def _whole(self, name: str) -> AnyArray:
        return evidence.read_array(self.storage, self.manifest, name)

    @cached_property
    def plan_member(self) -> BoolArray:
        """Membership of every planned run, (planned, N) bool."""
        return self._whole("plan/member").astype(np.bool_, copy=False)

    @cached_property
    def member(self) -> BoolArray:
        """Membership of the usable runs, (R, N) bool."""
        planned = self.plan_member
        # Of a large pool it is the largest array that is held: not twice.
        return planned if len(self.models) == len(planned) else planned[self.models]

    @cached_property
    def labels(self) -> Int64Array:
        """Labels of the pool, (N,)."""
        return self._whole("data/labels").astype(np.int64)

    @cached_property
    def ids(self) -> NDArray[np.str_]:
        """Ids of the pool, (N,)."""
        return self._texts("ids")

    @cached_property
    def groups(self) -> NDArray[np.str_] | None:
        """Whose sample each is, (N,), or None where every sample is a subject."""
        if self.manifest["data"].get("subjects") is None:
            return None
        return self._texts("groups")

    @cached_property
    def offsets(self) -> Int64Array | None:
        """Where the predicted tokens of each document begin, (N + 1,); None without signals of tokens."""
        return self._of_tokens("data/offsets")

    @cached_property
    def zlib(self) -> Int64Array | None:
        """Bytes that zlib makes of each document, (N,), 0 where its text is not known; None as above."""
        return self._of_tokens("data/zlib")

    def _of_tokens(self, name: str) -> Int64Array | None:
        there = name in evidence.array_parts(self.manifest)
        return self._whole(name).astype(np.int64) if there else None

    def token_signal(self, name: str, row: int, t: int = -1) -> AnyArray:
        """A signal of tokens of usable run `row` at checkpoint index `t`: (S,), in the type stored.

        Documents lie one after another (`offsets`). One run is read, so that a pool of any size takes the
        memory of one. Raises InputError for a signal that is none of tokens, CorruptStore as `signal_at`.
        """
        known = [s for s in self.recorded if s.startswith("token_")]
        if name not in known:
            raise InputError(
                f"signal: expected one of tokens that was recorded ({', '.join(known) or 'none was'}), "
                f"got {name!r}; " + (nearest(name, known) if known else "set record.tokens = true")
            )
        for what, given, count in (("row", row, len(self.models)), ("t", t, len(self.checkpoints))):
            if not -count <= given < count:
                raise InputError(f"{what}: expected an index in 0..{count - 1}, got {given}")
        t, model = t % len(self.checkpoints), self.models[row]
        self.reads.add((name, t))
        array = self._array(name)
        at = f"signals/{name}"
        found: AnyArray = arrays.read(self.storage, array, at, np.array([model]), t)[0]
        if chunk_digest(found) != self.records[int(model)]["digests"][name][t]:
            key = arrays.chunk_key(at, int(model), t, array.ndim)
            raise CorruptStore(
                f"{self.path}/{key}: expected what run {model} wrote at checkpoint {t}, got "
                f"{evidence.whose(self.records, chunk_digest(found))}; run `seepage repair` on this "
                "folder"
            )
        return found

    def _texts(self, name: str) -> NDArray[np.str_]:
        found = evidence.read_texts(self.storage, self.manifest, f"data/{name}")
        return np.array(found, dtype=np.str_)

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            if name not in self.recorded:
                raise InputError(
                    f"signal: expected one that was recorded, got {name!r}; "
                    f"{nearest(name, self.signals)}"
                )
            at = f"signals/{name}"
            description = self.manifest["descriptions"][at]
            array = arrays.open_to_read(self.storage, at, description)
            for row in self.models[:1].tolist():
                key = arrays.chunk_key(at, row, 0, array.ndim)
                if not arrays.sized(self.storage, array, key):
                    raise CorruptStore(
                        f"{self.path}/{key}: its bytes are not those that were written; "
                        "run `seepage repair` on this folder"
                    )
            self._arrays[name] = array
        return self._arrays[name]

    def signal_at(self, name: str, t: int) -> NDArray[np.float32]:
        """One signal at checkpoint index `t`: (R, N[, A]) float32, read from the store.

        Every chunk is compared with the digest in the record of its run; CorruptStore names one
        that is damaged, another run's, another checkpoint's or another folder's.
        """
        if not -len(self.checkpoints) <= t < len(self.checkpoints):
            raise InputError(
                f"t: expected a checkpoint index in 0..{len(self.checkpoints) - 1}, got {t}"
            )
        t %= len(self.checkpoints)
        if self._of_documents(name):
            return self._document_signal(name, t)
        return self._read(name, t, self.models).astype(np.float32, copy=False)

    def _read(self, name: str, t: int, models: Int64Array) -> AnyArray:
        """Whole chunks of some runs, as they are stored, compared with the records."""
        self.reads.add((name, t))
        array, at = self._array(name), f"signals/{name}"
        written = [self.records[row]["digests"][name][t] for row in models.tolist()]
        whole = arrays.read_written(self.storage, array, at, models, t, written)
        if whole is not None:
            return whole
        values = arrays.read(self.storage, array, at, models, t)
        for row, found in zip(models.tolist(), values, strict=True):
            if chunk_digest(found) != self.records[row]["digests"][name][t]:
                key = arrays.chunk_key(f"signals/{name}", row, t, array.ndim)
                raise CorruptStore(
                    f"{self.path}/{key}: expected what run {row} wrote at checkpoint {t}, got "
                    f"{evidence.whose(self.records, chunk_digest(found))}; run `seepage repair` on "
                    "this folder"
                )
        return values

    def some_at(self, name: str, t: int, rows: Int64Array) -> NDArray[np.float32]:
        """`signal_at` of the samples at positions `rows` alone, (R, M[, A]): one run in memory at a time."""
        t = range(len(self.checkpoints))[t]
        if self._of_documents(name):
            return self._document_signal(name, t)[:, rows]
        array = self._array(name)
        stored = array.dtype.newbyteorder("<")
        found = []
        for i, row in enumerate(self.models.tolist()):
            key = arrays.chunk_key(f"signals/{name}", row, t, array.ndim)
            held = memoryview(self.storage.bytes_of(key))[:-4]
            if hashlib.sha256(held).hexdigest() == self.records[row]["digests"][name][t]:
                whole = np.frombuffer(held, stored).reshape(array.shape[2:])
            else:  # which says what is wrong; nothing where bytes are in another order
                whole = self._read(name, t, self.models[i : i + 1])[0]
            found.append(whole[rows].astype(np.float32))
        self.reads.add((name, t))
        self._sound.add((name, t))
        return np.stack(found)

    def columns(self, name: str, t: int, first: int, last: int) -> NDArray[np.float32]:
        """`signal_at` of the samples first to last alone, (R, last − first[, A]).

        All chunks are compared with the records when the first block of a checkpoint is asked for, or
        by `some_at` before, once for this object.
        """
        t = range(len(self.checkpoints))[t]
        if self._of_documents(name):
            return self._document_signal(name, t)[:, first:last]
        if (name, t) not in self._sound:
            self.compare([(name, t)])
            self._sound.add((name, t))
        self.reads.add((name, t))
        at, array = f"signals/{name}", self._array(name)
        values = arrays.read_columns(self.storage, array, at, self.models, t, first, last)
        return values.astype(np.float32, copy=False)

    def _of_documents(self, name: str) -> bool:
        """Whether it is a signal that follows from recorded tokens."""
        return name not in self.recorded and name in self.signals

    def _document_signal(self, name: str, t: int) -> NDArray[np.float32]:
        """What follows from tokens, computed once and kept beside the evidence."""
        if (name, t) not in self._documents:
            asked = {"signal": name, "t": t}
            before, self.reads = self.reads, set()
            try:
                found = computed(
                    self,
                    "documents",
                    asked,
                    _Documents,
                    lambda: _Documents(documents_at(self, name, t)),
                )
            finally:
                read, self.reads = self.reads, before
            self._documents[name, t] = found.values, read
        values, read = self._documents[name, t]
        # Whoever asks has read them too.
        self.reads |= read
        return values.astype(np.float32)

    def compare(self, reads: Iterable[tuple[str, int]]) -> None:
        """Compare chunks with the digests in the records of their runs: signals by name and checkpoint.

        For a figure that is not computed again. Raises CorruptStore as `signal_at` does.
        """
        self.reads |= set(reads)
        for name, t in set(reads) - self._compared:
            array = self._array(name)
            for row in self.models.tolist():
                key = arrays.chunk_key(f"signals/{name}", row, t, array.ndim)
                held = hashlib.sha256(self.storage.bytes_of(key)[:-4]).hexdigest()
                if held != self.records[row]["digests"][name][t]:
                    # Says what is wrong; nothing where bytes are in another order.
                    self.signal_at(name, t)
            self._compared.add((name, t))

    def signal(self, name: str) -> NDArray[np.float32]:
        """One signal whole: (R, T, N[, A]) float32. Prefer `signal_at` when it is large."""
        return np.stack([self.signal_at(name, t) for t in range(len(self.checkpoints))], axis=1)

    def data(self) -> Dataset | None:
        """The dataset, found again from its source and checked by digest, or None."""
        source = self.manifest["data"]["source"]
        if not source:
            return None
        from seepage.data.loading import reload

        return reload(source, self.manifest["data"]["digest"])

    def weights(self, row: int, t: int = -1) -> dict[str, torch.Tensor] | None:
        """Weights of usable run `row` at checkpoint index `t`, or None when they were not kept.

        Raises CorruptStore when their bytes changed, or are not what this run wrote.
        """
        t = t % len(self.checkpoints)
        model = int(self.models[row])
        key = weights_key(model, t)
        raw = self.storage.get(key)
        kept = self.records[model].get("weights")
        expected = None if kept is None else kept.get(str(t))
        if raw is None:
            if expected is None:
                return None
            raise CorruptStore(
                f"{self.path}/{key}: expected the kept weights of run {model}, found none; "
                "run `seepage repair` on this folder"
            )
        found = unpack(raw, f"{self.path}/{key}")[0]
        if kept is not None and hashlib.sha256(raw).hexdigest() != expected:
            raise CorruptStore(
                f"{self.path}/{key}: expected what run {model} wrote at checkpoint {t}, got "
                f"{evidence.whose(self.records, hashlib.sha256(raw).hexdigest())}; "
                "run `seepage repair` on this folder"
            )
        return found

    def keeps_weights(self, row: int, t: int = -1) -> bool:
        """Whether weights of usable run `row` at checkpoint index `t` were kept."""
        key = weights_key(int(self.models[row]), t % len(self.checkpoints))
        return self.storage.exists(key)

    def derived(self, name: str) -> dict[str, Any] | None:
        """What a later command found out about the kept models ("curvature", "layers"), or None.

        Raises CorruptStore when its bytes changed, or it was found out about another folder.
        """
        return read_derived(self.storage, self.manifest, name)

    def verify(self) -> list[str]:
        """Keys that are absent, damaged, or not those that were written; see `seepage.store.verify`."""
        return [d.key for d in verify(self.path).damage]


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a run folder or address for reading.

    Raises InputError when there is none, CorruptStore when a complete run lacks a chunk. Bytes
    are checked as they are read, against the manifest and the records. `Run.missing` names the
    planned runs that are not there.
    """
    return Run(path)
