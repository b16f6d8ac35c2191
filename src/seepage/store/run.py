"""A run folder as its readers see it: complete runs only, checked bytes, nothing to execute."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.data import reload
from seepage.errors import CorruptStore, InputError, nearest
from seepage.store import arrays
from seepage.store.arrays import unpack
from seepage.store.storage import Storage

if TYPE_CHECKING:
    import torch

    from seepage.data import Dataset

__all__ = ["Run", "open_run"]

FORMAT = 2
"""What is written; 1, of version 0.1.0, is still read: its key held digests of code."""


class Run:
    """Signals, membership and manifest of a fleet of training runs.

    Rows are the usable runs: complete and not failed. `models` gives their plan rows.
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
        if manifest.get("format") not in (1, FORMAT):
            raise InputError(
                f"{self.path}: expected format 1 or {FORMAT}, got {manifest.get('format')}; "
                "it was written by another version of seepage"
            )
        self.manifest: dict[str, Any] = manifest
        self.checkpoints: Float64Array = np.array(manifest["checkpoints"], dtype=np.float64)
        self.signals: tuple[str, ...] = tuple(manifest["signals"])
        self.classes: tuple[str, ...] = tuple(manifest["data"]["classes"])
        self.records = read_records(self.storage)
        self.failed: dict[int, str] = {
            r: rec["why"] for r, rec in self.records.items() if rec["status"] == "failed"
        }
        done = sorted(r for r, rec in self.records.items() if rec["status"] == "done")
        self.models: Int64Array = np.array(done, dtype=np.int64)
        self._check_present()
        self._arrays: dict[str, Any] = {}

    def _check_present(self) -> None:
        held = set(self.storage.keys("signals/"))
        for name in self.signals:
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

    def _whole(self, name: str) -> AnyArray:
        return arrays.read_whole(self.storage, name, self.manifest["descriptions"][name])

    @cached_property
    def plan_member(self) -> BoolArray:
        """Membership of every planned run, (planned, N) bool."""
        return self._whole("plan/member").astype(np.bool_)

    @cached_property
    def member(self) -> BoolArray:
        """Membership of the usable runs, (R, N) bool."""
        return self.plan_member[self.models]

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
        return self._texts("groups", "subjects")

    def _texts(self, name: str, what: str = "") -> NDArray[np.str_]:
        found = self.storage.get_json(f"data/{name}.json")
        if found is None:
            raise CorruptStore(
                f"{self.path}/data/{name}.json: expected the {what or name} of the samples, found "
                "none; run `seepage repair` on this folder"
            )
        return np.array(found, dtype=np.str_)

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            if name not in self.signals:
                raise InputError(
                    f"signal: expected one that was recorded, got {name!r}; "
                    f"{nearest(name, self.signals)}"
                )
            at = f"signals/{name}"
            description = self.manifest["descriptions"][at]
            self._arrays[name] = arrays.open_array(self.storage, at, description)
        return self._arrays[name]

    def signal_at(self, name: str, t: int) -> NDArray[np.float32]:
        """One signal at checkpoint index `t`: (R, N[, A]) float32, read from the store."""
        if not -len(self.checkpoints) <= t < len(self.checkpoints):
            raise InputError(
                f"t: expected a checkpoint index in 0..{len(self.checkpoints) - 1}, got {t}"
            )
        t %= len(self.checkpoints)
        values = arrays.read(self.storage, self._array(name), f"signals/{name}", self.models, t)
        return values.astype(np.float32, copy=False)

    def signal(self, name: str) -> NDArray[np.float32]:
        """One signal whole: (R, T, N[, A]) float32. Prefer `signal_at` when it is large."""
        return np.stack([self.signal_at(name, t) for t in range(len(self.checkpoints))], axis=1)

    def data(self) -> Dataset | None:
        """The dataset, found again from its source and checked by digest, or None."""
        return reload(self.manifest["data"]["source"], self.manifest["data"]["digest"])

    def weights(self, row: int, t: int = -1) -> dict[str, torch.Tensor] | None:
        """Weights of usable run `row` at checkpoint index `t`, or None when they were not kept.

        Raises CorruptStore when their bytes changed.
        """
        key = weights_key(int(self.models[row]), t % len(self.checkpoints))
        raw = self.storage.get(key)
        return None if raw is None else unpack(raw, f"{self.path}/{key}")[0]

    def keeps_weights(self, row: int, t: int = -1) -> bool:
        """Whether weights of usable run `row` at checkpoint index `t` were kept."""
        key = weights_key(int(self.models[row]), t % len(self.checkpoints))
        return self.storage.exists(key)

    def analysis(self, name: str) -> dict[str, Any] | None:
        """What a later command found out about the kept models ("curvature", "layers"), or None."""
        found: dict[str, Any] | None = self.storage.get_json(analysis_key(name))
        return found

    def verify(self) -> list[str]:
        """Keys whose bytes are not those that were written: every chunk against its SHA-256."""
        bad = []
        for name in self.signals:
            array = self._array(name)
            for r in self.models.tolist():
                for t, digest in enumerate(self.records[r]["digests"][name]):
                    try:
                        held = arrays.chunk_digest(np.asarray(array[r, t])) == digest
                    except (ValueError, OSError, RuntimeError, TypeError):
                        held = False
                    if not held:
                        bad.append(arrays.chunk_key(f"signals/{name}", r, t, array.ndim))
        return bad


def analysis_key(name: str) -> str:
    """Key of what was found out about the kept models after training."""
    return f"analysis/{name}.json"


def weights_key(model: int, t: int) -> str:
    """Key of the kept weights of one run and checkpoint."""
    return f"weights/{model:05d}/{t:04d}.safetensors"


def record_key(model: int) -> str:
    """Key of the record that makes a run complete."""
    return f"records/{model:05d}.json"


def read_records(storage: Storage) -> dict[int, dict[str, Any]]:
    """Records of all runs that ended, by plan row."""
    found = {}
    for key in storage.keys("records/"):
        if key.endswith(".json"):
            found[int(key.removeprefix("records/").removesuffix(".json"))] = storage.get_json(key)
    return found


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a run folder or address for reading.

    Raises InputError when there is none, CorruptStore when a complete run lacks a chunk. Bytes
    are checked as they are read.
    """
    return Run(path)
