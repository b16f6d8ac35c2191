"""From a Recorder into the store: a checkpoint's chunks, kept weights, the run's record."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import numpy as np
from torch import nn

from seepage.array_types import AnyArray, BoolArray
from seepage.errors import InputError
from seepage.store import arrays
from seepage.store.arrays import pack
from seepage.store.keys import record_key, weights_key
from seepage.store.storage import Storage

__all__ = ["StoreSink"]


class StoreSink:
    """One run's way into the store.

    A checkpoint counts as written once all its chunks are; the run counts as done once its
    record, with the digest of every chunk and of kept weights, is there. manifest: the digest of the folder's manifest, which the record carries.
    """

    def __init__(
        self,
        storage: Storage,
        row: int,
        names: tuple[str, ...],
        checkpoints: int,
        keep: str,
        member: BoolArray,
        manifest: str,
    ) -> None:
        self.storage = storage
        self.row = row
        self.checkpoints = checkpoints
        self.keep_rule = keep
        self.member = member
        self.manifest = manifest
        self.weights: dict[str, str] = {}
        self.arrays = {n: arrays.open_array(storage, f"signals/{n}") for n in names}
        self.digests: dict[str, list[str]] = {n: [] for n in names}
        # Of members and of others; of a regression the root mean square of residuals.
        self.measure = "rmse" if "residual" in names else "accuracy"
        self.accuracy: list[tuple[float, float]] = []
        self.began = time.time()

    def restore(self, digests: dict[str, list[str]], accuracy: list[tuple[float, float]]) -> None:
        """Continue after the checkpoints that a saved training state already saw."""
        self.digests = {n: list(d) for n, d in digests.items()}
        self.accuracy = [(a, b) for a, b in accuracy]

    def wants(self, t: int) -> bool:
        """Checkpoints come in order; those before a restored state are there already."""
        return all(len(d) <= t for d in self.digests.values())

    def write(self, t: int, values: dict[str, AnyArray]) -> None:
        """One chunk per signal, each whole or absent."""
        for name, array in self.arrays.items():
            if len(self.digests[name]) != t:
                raise InputError(
                    f"checkpoints: expected checkpoint {len(self.digests[name])} before {t}, got it "
                    "passed over; call the recorder at every epoch that was requested, in order"
                )
            found = values.get(name)
            if found is None:
                # An extra signal that is not measured at this checkpoint.
                found = np.full(array.shape[2:], np.nan, dtype=np.float32)
            if found.shape != array.shape[2:]:
                raise InputError(
                    f"{name}: expected shape {array.shape[2:]} at every checkpoint, got "
                    f"{found.shape}; give the network one output for each class, or do not record it"
                )
            raw, digest = arrays.encode(array, found)
            self.storage.put(arrays.chunk_key(f"signals/{name}", self.row, t, array.ndim), raw)
            self.digests[name].append(digest)
        if "correct" in values:
            correct = values["correct"].reshape(len(self.member), -1)[:, 0].astype(np.float64)
            self.accuracy.append((float(correct[self.member].mean()), _mean(correct[~self.member])))
        elif "residual" in values:
            square = values["residual"].reshape(len(self.member), -1)[:, 0].astype(np.float64) ** 2
            inside, outside = square[self.member].mean(), _mean(square[~self.member])
            self.accuracy.append((float(inside**0.5), outside**0.5))

    def _kept(self, t: int) -> bool:
        return self.keep_rule == "all" or (self.keep_rule == "final" and t == self.checkpoints - 1)

    def keep(self, t: int, model: nn.Module) -> None:
        """Weights of the requested checkpoints, as safetensors."""
        if self._kept(t):
            raw = pack(model.state_dict())
            self.storage.put(weights_key(self.row, t), raw)
            self.weights[str(t)] = hashlib.sha256(raw).hexdigest()

    def done(self, **facts: Any) -> dict[str, Any]:
        """Write the record that completes the run."""
        for t in range(self.checkpoints):
            # Written before the run was interrupted.
            if self._kept(t) and str(t) not in self.weights:
                raw = self.storage.get(weights_key(self.row, t))
                if raw is not None:
                    self.weights[str(t)] = hashlib.sha256(raw).hexdigest()
        record = {
            "status": "done",
            "run": self.row,
            "manifest": self.manifest,
            "digests": self.digests,
            "weights": self.weights,
            "accuracy": self.accuracy if self.measure == "accuracy" else [],
            **({} if self.measure == "accuracy" else {self.measure: self.accuracy}),
            **facts,
        }
        self.storage.put_json(record_key(self.row), record)
        return record

    def failed(self, why: str) -> dict[str, Any]:
        """Write the record of a run that cannot be used, with its reason."""
        record = {"status": "failed", "run": self.row, "manifest": self.manifest, "why": why}
        self.storage.put_json(record_key(self.row), record)
        return record


def _mean(values: AnyArray) -> float:
    return float(values.mean()) if values.size else 0.0
