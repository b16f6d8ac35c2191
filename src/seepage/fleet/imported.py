"""A run folder from arrays that another tool recorded."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seepage.data import Dataset
from seepage.errors import InputError
from seepage.fleet.folder import create
from seepage.fleet.identity import package_digest
from seepage.fleet.sink import StoreSink
from seepage.plan import SubsetPlan
from seepage.store.evidence import stamp
from seepage.store.run import Run
from seepage.store.storage import Storage

__all__ = ["import_arrays"]

_KNOWN = {"member", "checkpoints", "labels", "ids", "classes"}


def import_arrays(source: str | os.PathLike[str], out: str | os.PathLike[str]) -> Run:
    """Make a run folder from an .npz: member (R, N) bool and signals (R, T, N[, A]).

    `checkpoints` (T,) are epochs (0, 1, 2… when absent); `labels` (N,) and `ids` (N,) are
    optional. Every array with the shape of a signal is taken as one, under its own name; a signal
    (R, N[, A]) is one checkpoint. Nothing in the file is ever executed. Raises InputError when
    arrays are missing or disagree, or when `out` holds something already.
    """
    arrays_ = _read(Path(source))
    if "member" not in arrays_:
        raise InputError(f"{source}: expected an array `member` (models, samples), found none")
    member = arrays_["member"]
    if member.ndim != 2 or not np.isin(member, (0, 1)).all():
        raise InputError(f"{source}: member: expected 0/1 of shape (models, samples)")
    member = member.astype(np.bool_)
    r, n = member.shape
    signals: dict[str, np.ndarray] = {}
    for name, a in arrays_.items():
        if name in _KNOWN:
            continue
        if a.shape[:2] == (r, n) and a.ndim in (2, 3):
            a = a[:, None]
        if a.ndim not in (3, 4) or a.shape[0] != r or a.shape[2] != n:
            raise InputError(
                f"{source}: {name}: expected shape ({r}, checkpoints, {n}[, views]), got {a.shape}"
            )
        if a.dtype.kind not in "fiub":
            raise InputError(f"{source}: {name}: expected numbers, got {a.dtype}")
        if not np.isfinite(a).all():
            raise InputError(f"{source}: {name}: expected finite values; leave such runs out")
        signals[name] = a.astype(np.float32)
    steps = {a.shape[1] for a in signals.values()}
    if len(steps) != 1:
        raise InputError(
            f"{source}: expected at least one signal, all with the same checkpoints, got "
            f"{ {k: v.shape[1] for k, v in signals.items()} }"
        )
    count = steps.pop()
    times = _numbers(source, "checkpoints", arrays_.get("checkpoints", np.arange(count)))
    if times.shape != (count,) or (np.diff(times) <= 0).any():
        raise InputError(
            f"{source}: checkpoints: expected {count} epochs, ascending, got {times.tolist()}"
        )
    labels = _numbers(source, "labels", arrays_.get("labels", np.arange(n) % 2)).astype(np.int64)
    if labels.shape != (n,) or labels.min() < 0:
        raise InputError(
            f"{source}: labels: expected {n} whole numbers from 0, got shape {labels.shape} "
            f"from {labels.min() if labels.size else 'nothing'}"
        )
    data = Dataset(
        inputs=torch.zeros(n, 1),
        labels=torch.from_numpy(labels),
        ids=np.asarray(arrays_.get("ids", np.arange(n))).astype(np.str_),
        classes=tuple(str(c) for c in range(max(2, int(labels.max()) + 1))),
        name=Path(source).stem,
        kind="table",
    )
    plan = SubsetPlan(member, np.zeros(r, np.uint64), "imported", 0)
    storage = Storage(out, write=True)
    if storage.exists("manifest.json"):
        raise InputError(f"{out}: expected a new folder, got a run folder; choose another")
    shapes = {k: (a.shape[2:], "float32") for k, a in signals.items()}
    key: dict[str, Any] = {
        "data": data.digest,
        "plan": plan.digest,
        "imported": Path(source).name,
        # Without them those above are made up, and nothing may be derived from them.
        "labels": "labels" in arrays_,
    }
    provenance = {"code": package_digest(), "unfollowed": []}
    manifest = create(
        storage, data, plan, key, {}, times.tolist(), shapes, ["identity"], provenance
    )
    written = stamp(manifest)
    for row in range(r):
        sink = StoreSink(storage, row, tuple(signals), len(times), "none", member[row], written)
        for t in range(len(times)):
            sink.write(t, {k: a[row, t] for k, a in signals.items()})
        sink.done(seconds=0.0, looking=0.0, steps=0, members=int(member[row].sum()))
    return Run(out)


def _numbers(source: str | os.PathLike[str], name: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "fiu":
        raise InputError(f"{source}: {name}: expected numbers, got {values.dtype}")
    return values.astype(np.float64)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as f, np.load(f, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise InputError(f"{path}: expected an .npz file, found none; check the path") from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, AttributeError) as e:
        raise InputError(f"{path}: expected an .npz of plain arrays, got {e}") from None
