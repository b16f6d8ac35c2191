"""A run folder from arrays that another tool recorded: all of it, or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seepage.array_types import AnyArray, BoolArray, Float64Array
from seepage.data.archive import read_archive
from seepage.data.npz import class_names
from seepage.data.reading import as_text, name_labels
from seepage.errors import InputError, nearest
from seepage.fleet.folder import create
from seepage.fleet.identity import package_digest
from seepage.fleet.sink import StoreSink
from seepage.local_paths import local_path
from seepage.models.outputs import Simplex
from seepage.plan import SubsetPlan, refuse_offline
from seepage.store.evidence import stamp
from seepage.store.lock import Lock
from seepage.store.run import Run
from seepage.store.storage import Storage

__all__ = ["import_arrays"]

_KNOWN = ("member", "checkpoints", "labels", "ids", "classes")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_PER_VIEW = ("phi", "loss", "correct", "mentr")
_NOT_GIVEN = "(not given)"


def import_arrays(source: str | os.PathLike[str], out: str | os.PathLike[str]) -> Run:
    """Make a run folder from an .npz: member (R, N) of 0 and 1, and signals (R, T, N[, A]).

    Every array besides those named here is a signal under its own name; (R, N[, A]) is one
    checkpoint. `logits` are (R, T, N, K) or (R, N, K). Values are stored as 32-bit floats, `correct`
    as 0 and 1. Optional: `checkpoints` (T,) epochs, ascending from 0, the initialisation; without
    them checkpoints are numbered from 1. `labels` (N,) whole numbers 0..K−1 or names; without them
    nothing is said by class, and nothing that needs a label is derived. `classes` (K,) names in
    the order of the numbers and of the logits. `ids` (N,) text or whole numbers.

    out: a folder that is not there or is empty, or such an address. Nothing in the file is ever
    executed, and nothing is written before all of it is checked: a local folder appears when it is
    whole. Raises InputError for arrays that are missing, disagree, or would not be stored as what
    they are, and for an `out` that holds something already.
    """
    path = local_path(source, "arrays")
    arrays = _checked(str(path), read_archive(path))
    if "://" in os.fspath(out):
        storage = Storage(out, write=True)
        with Lock(storage):
            if any(not key.startswith("locks") for key in storage.keys("")):
                raise InputError(f"{out}: expected an address that holds nothing; choose another")
            _write(storage, arrays)
    else:
        with _new_folder(local_path(out, "out")) as draft:
            storage = Storage(draft, write=True)
            with Lock(storage):
                _empty(draft)
                _write(storage, arrays)
    return Run(out)


@dataclass(frozen=True)
class _Pool:
    """What a run folder says of a pool whose inputs are not known."""

    ids: NDArray[np.str_]
    labels: torch.Tensor
    classes: tuple[str, ...]
    name: str
    shape: tuple[int, ...] = ()
    kind: str = "table"
    source: dict[str, Any] = field(default_factory=dict)
    groups: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def digest(self) -> str:
        h = hashlib.sha256(repr((self.classes, self.ids.tolist())).encode())
        h.update(self.labels.numpy().astype("<i8").tobytes())
        return h.hexdigest()


@dataclass(frozen=True)
class _Arrays:
    """What was imported, all of it checked."""

    member: BoolArray
    signals: dict[str, AnyArray]
    times: Float64Array
    pool: _Pool
    views: tuple[str, ...]
    key: dict[str, Any]


def _checked(where: str, arrays: Mapping[str, AnyArray]) -> _Arrays:
    member = _member(where, arrays)
    r, n = member.shape
    given = {k: a for k, a in arrays.items() if k not in _KNOWN}
    _check_names(where, given)
    epochs = arrays.get("checkpoints")
    count = None if epochs is None else epochs.size
    signals = {k: _signal(where, k, a, (r, n), count) for k, a in given.items()}
    if not signals or len({a.shape[1] for a in signals.values()}) != 1:
        raise InputError(
            f"{where}: expected at least one signal, all with the same checkpoints, got "
            f"{ {k: a.shape[1] for k, a in signals.items()} or 'none' }; save one such as phi"
        )
    # Other signals may have a further axis of their own, such as one value per layer.
    wide = {k: a.shape[3] for k, a in signals.items() if a.ndim == 4 and k in _PER_VIEW}
    if len(set(wide.values())) > 1:
        raise InputError(
            f"{where}: expected signals with the same views, got {wide}; save the same of each"
        )
    views = next(iter(wide.values()), 1)
    key = {
        "imported": Path(where).name,
        "arrays": _digest(arrays),
        # What was not given is not known, and nothing may be derived from it.
        "labels": "labels" in arrays,
        "checkpoints": epochs is not None,
    }
    return _Arrays(
        member,
        signals,
        _times(where, epochs, next(iter(signals.values())).shape[1]),
        _pool(where, arrays, n, signals.get("logits")),
        ("identity", *(f"view {k + 1}" for k in range(1, views))),
        key,
    )


def _member(where: str, arrays: Mapping[str, AnyArray]) -> BoolArray:
    if "member" not in arrays:
        raise InputError(
            f"{where}: expected an array `member` (models, samples), found none; "
            + nearest("member", arrays)
            if arrays
            else f"{where}: expected arrays, found none; save member and signals"
        )
    member = arrays["member"]
    if member.ndim != 2 or member.dtype.kind not in "biuf" or not np.isin(member, (0, 1)).all():
        raise InputError(
            f"{where}: member: expected 0 and 1 of shape (models, samples), got {member.dtype} of "
            f"shape {member.shape}; correct it"
        )
    if 0 in member.shape:
        raise InputError(
            f"{where}: member: expected at least one model and one sample, got shape "
            f"{member.shape}; save some"
        )
    member = member.astype(np.bool_)
    without = np.flatnonzero(~member.any(axis=1))
    if without.size:
        raise InputError(
            f"{where}: member: expected a member in every run, got none in run {without[0]}; runs "
            "that trained on other data alone are references of an offline target, which run folders "
            "cannot hold yet: leave them out, or pass them to an offline attack's `score`"
        )
    refuse_offline(member, f"{where}: member")
    return member


def _check_names(where: str, given: Mapping[str, AnyArray]) -> None:
    """Names become names of files: plain ones alone, and none that a disk could take for another."""
    for name, a in given.items():
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{where}: expected names of signals in letters, digits, '_', '-' and '.', at most "
                f"100, got {name[:100]!r}; rename it"
            )
        if a.ndim < 2:
            raise InputError(
                f"{where}: {name}: expected a signal (models, checkpoints, samples[, views]), got "
                f"shape {a.shape}; {nearest(name, _KNOWN)}"
            )
    lower = [name.lower() for name in (*given, *_KNOWN)]
    twice = sorted({name for name in lower if lower.count(name) > 1})
    if twice:
        raise InputError(
            f"{where}: expected names that differ in more than case, got several {twice[0]!r}; "
            "rename one"
        )


def _signal(
    where: str, name: str, a: AnyArray, size: tuple[int, int], count: int | None
) -> AnyArray:
    """One signal as it is stored, (R, T, N[, A]) float32, or bool for `correct`."""
    r, n = size
    if a.dtype.kind not in "fiub":
        raise InputError(f"{where}: {name}: expected numbers, got {a.dtype}; convert them")
    deep = 4 if name == "logits" else 3
    # One checkpoint has one axis less, and may look like several without views.
    one = a.shape[:2] == (r, n) and a.ndim in (deep - 1, 3)
    many = a.ndim in (deep, 4) and a.shape[0] == r and a.shape[2] == n
    if one and many:
        one, many = count == 1, count is not None and count == a.shape[1] != 1
        if one == many:
            raise InputError(
                f"{where}: {name}: expected a shape of one meaning, got {a.shape} for {r} models and "
                f"{n} samples; save (models, checkpoints, samples, views)"
            )
    if not (one or many) or 0 in a.shape:
        tail = ", classes)" if name == "logits" else "[, views])"
        raise InputError(
            f"{where}: {name}: expected shape ({r}, checkpoints, {n}{tail}, got {a.shape}; correct "
            "it"
        )
    a = a[:, None] if one else a
    if not np.isfinite(a).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(a))[0])
        raise InputError(
            f"{where}: {name}: expected finite values, got {a[at]} at {at}; leave such runs out"
        )
    if name == "logits":
        rows = Simplex()
        for part in a.reshape(-1, *a.shape[-2:]):
            rows.see(torch.from_numpy(np.ascontiguousarray(part, dtype=np.float64)))
        if rows.found:
            raise InputError(
                f"{where}: logits: expected logits, got probabilities: every row lies in [0, 1] and "
                "sums to one; save what enters the softmax, or its logarithm"
            )
    if name == "correct":
        if not np.isin(a, (0, 1)).all():
            raise InputError(
                f"{where}: correct: expected 0 and 1, got values in {a.min():g}..{a.max():g}; save "
                "whether each answer was right"
            )
        return a.astype(np.bool_)
    with np.errstate(over="ignore", under="ignore"):
        stored = a.astype(np.float32)
    lost = ~np.isfinite(stored) | ((stored == 0) & (a != 0))
    if a.dtype.kind in "iu":
        lost |= stored.astype(np.float64) != a
    if lost.any():
        at = tuple(int(i) for i in np.argwhere(lost)[0])
        raise InputError(
            f"{where}: {name}: expected values that 32-bit floats hold, got {a[at]} at {at}; scale "
            "them first"
        )
    return stored


def _times(where: str, epochs: AnyArray | None, count: int) -> Float64Array:
    if epochs is None:
        return np.arange(1.0, count + 1.0)
    if epochs.dtype.kind not in "fiu":
        raise InputError(f"{where}: checkpoints: expected numbers, got {epochs.dtype}; save epochs")
    times = np.atleast_1d(epochs).astype(np.float64)
    rising = np.isfinite(times).all() and (times >= 0).all() and (np.diff(times) > 0).all()
    if times.shape != (count,) or not rising:
        raise InputError(
            f"{where}: checkpoints: expected {count} epochs from 0, ascending and finite, got "
            f"{times.ravel()[:4].tolist()} of shape {times.shape}; correct them"
        )
    return times


def _pool(where: str, arrays: Mapping[str, AnyArray], n: int, logits: AnyArray | None) -> _Pool:
    ids = as_text(f"{where}: ids", arrays.get("ids", np.arange(n)))
    if ids.shape != (n,) or len(set(ids.tolist())) < n or "" in ids.tolist():
        raise InputError(
            f"{where}: ids: expected {n} different names, got {len(set(ids.ravel().tolist()))} in "
            f"shape {ids.shape}; results are joined on ids"
        )
    _check_utf8(where, "ids", ids.tolist())
    if "labels" not in arrays:
        if "classes" in arrays:
            raise InputError(f"{where}: classes: expected labels with them, got none; save both")
        return _Pool(ids, torch.zeros(n, dtype=torch.int64), (_NOT_GIVEN,), Path(where).stem)
    labels = arrays["labels"]
    if labels.shape != (n,):
        raise InputError(
            f"{where}: labels: expected one for each of the {n} samples, got shape {labels.shape}; "
            "correct them"
        )
    classes = class_names(where, arrays["classes"]) if "classes" in arrays else None
    _check_utf8(where, "classes", classes or ())
    columns = None if logits is None else logits.shape[-1]
    if columns is not None:
        if classes is None and labels.dtype.kind in "SU":
            raise InputError(
                f"{where}: labels: expected whole numbers with logits, got names; save `classes`, "
                "the names in the order of the logits"
            )
        if columns < 2 or len(classes or range(columns)) != columns:
            raise InputError(
                f"{where}: logits: expected a column for each of at least two classes, got "
                f"{columns} for {'an unknown number' if classes is None else len(classes)}; save "
                "one per class"
            )
        classes = classes or tuple(str(k) for k in range(columns))
    named, names = name_labels(f"{where}: labels", {"train": labels}, classes)
    _check_utf8(where, "labels", names)
    return _Pool(ids, torch.from_numpy(named["train"]), names, Path(where).stem)


def _check_utf8(where: str, what: str, texts: Any) -> None:
    for text in texts:
        if "\0" in text or (not text.isascii() and text != text.encode("utf-8", "ignore").decode()):
            raise InputError(f"{where}: {what}: expected text in UTF-8, got {text!r}; correct it")


def _digest(arrays: Mapping[str, AnyArray]) -> str:
    """SHA-256 over every array as it came: names, types, shapes and values."""
    h = hashlib.sha256()
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name])
        a = a.astype(a.dtype.newbyteorder("<"), copy=False)
        h.update(repr((name, a.dtype.str, a.shape)).encode("utf-8", "surrogatepass"))
        h.update(a.tobytes())
    return h.hexdigest()


def _write(storage: Storage, arrays: _Arrays) -> None:
    member, times = arrays.member, arrays.times.tolist()
    plan = SubsetPlan(member, np.zeros(len(member), np.uint64), "imported", 0)
    key = arrays.key | {"data": arrays.pool.digest, "plan": plan.digest}
    shapes = {k: (a.shape[2:], str(a.dtype)) for k, a in arrays.signals.items()}
    provenance = {"code": package_digest(), "unfollowed": []}
    manifest = create(storage, arrays.pool, plan, key, {}, times, shapes, arrays.views, provenance)
    written = stamp(manifest)
    for row in range(len(member)):
        sink = StoreSink(
            storage, row, tuple(arrays.signals), len(times), "none", member[row], written
        )
        for t in range(len(times)):
            sink.write(t, {k: a[row, t] for k, a in arrays.signals.items()})
        sink.done(seconds=0.0, looking=0.0, steps=0, members=int(member[row].sum()))


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the block ends, and goes when it fails.

    Its name is the same for every import into `out`: one that was killed is taken over by the
    next, and two at a time find each other's lock in it.
    """
    out = Path(os.path.realpath(out))
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a new folder, got a file; choose another place")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(
            f"{out}: expected a new or empty folder, got one that holds "
            f"{'a run' if (out / 'manifest.json').exists() else 'files'}; choose another"
        )
    made = [p for p in out.parents if not p.exists()]
    draft = out.parent / f".{hashlib.sha256(out.name.encode()).hexdigest()[:16]}.importing"
    try:
        yield draft
        os.replace(draft, out)
    except BaseException as error:
        # Another import's lock is in it: it is not ours to remove.
        if not _owned(draft):
            shutil.rmtree(draft, ignore_errors=True)
            for parent in made:
                with contextlib.suppress(OSError):
                    parent.rmdir()
        if isinstance(error, OSError) and not isinstance(error, InputError):
            raise InputError(
                f"{out}: expected a folder that can be written, got {error.strerror or error}; "
                "choose another place"
            ) from None
        raise


def _owned(draft: Path) -> bool:
    return (draft / "locks").is_dir() and any((draft / "locks").iterdir())


def _empty(draft: Path) -> None:
    """Remove what a killed import left, but for the lock that is held."""
    for entry in draft.iterdir():
        if entry.name == "locks":
            continue
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
