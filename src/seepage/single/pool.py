"""Members and others as one pool: what was given of them, looked over before a model is asked."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.data import Dataset, from_torch
from seepage.data.archive import read_archive
from seepage.errors import InputError
from seepage.given_arrays import given_array
from seepage.local_paths import local_path
from seepage.metrics import Samples, Subjects, Unit
from seepage.metrics.blind_inputs import with_missing_marked
from seepage.plan import Groups
from seepage.remedies import of_data
from seepage.short_repr import short_repr
from seepage.signals.tasks import task

__all__ = [
    "Pool",
    "Side",
    "chosen_rows",
    "class_numbers",
    "keys_of",
    "no_texts",
    "pooled",
    "read_side",
    "side_of",
]

RECORDED = (
    "logits",
    "probabilities",
    "predictions",
    "phi",
    "loss",
    "mentr",
    "entropy",
    "correct",
    "residual",
)
_INPUTS = ("inputs", "x")
_LABELS = ("labels", "y")
# Enough for a linear baseline and 32 components: neighbouring pixels say the same.
_MOST_COLUMNS = 8192


@short_repr
@dataclass(frozen=True, eq=False)
class Side:
    """The members, or the others: each field one per sample, or None where it is not known.

    inputs: an array, a tensor, a data frame or a list; labels, of other tasks than classes the
    targets; groups: whose sample each is; ids; recorded: outputs that were kept, by name; task: that
    of a `seepage.data.Dataset`; soft: distributions beside labels.
    """

    inputs: Any = None
    labels: AnyArray | None = None
    groups: AnyArray | None = None
    ids: AnyArray | None = None
    recorded: Mapping[str, AnyArray] = field(default_factory=dict)
    task: str | None = None
    soft: AnyArray | None = None


@short_repr
@dataclass(frozen=True, eq=False)
class Pool:
    """Members first, then others: N samples.

    inputs: as they were given, or None; labels (N,) or targets (N, …) as they were given, or None;
    member (N,) bool; groups (N,) or None; ids (N,); recorded (N, …) by name; soft (N, K) or None;
    repeats: how many members, and others, are exact copies of earlier ones of their side.
    """

    inputs: Any
    labels: AnyArray | None
    member: BoolArray
    groups: NDArray[np.str_] | None
    ids: NDArray[np.str_]
    recorded: Mapping[str, AnyArray]
    soft: AnyArray | None = None
    repeats: tuple[int, int] = (0, 0)

    @property
    def unit(self) -> Unit:
        """Subjects where groups were given."""
        return Samples() if self.groups is None else Subjects(self.groups)

    @property
    def features(self) -> Float64Array | None:
        """Inputs as numbers (N, D), or None where they are text or were not given.

        Of more than 8,192 columns every k-th; missing values at their column's mean, marked in a column
        of their own.
        """
        if self.inputs is None:
            return None
        try:
            raw = np.asarray(self.inputs)
            raw = raw.reshape(len(raw), -1)
            x = raw[:, :: -(-raw.shape[1] // _MOST_COLUMNS)].astype(np.float64)
        except (TypeError, ValueError):
            return None
        return with_missing_marked(np.where(np.isfinite(x), x, np.nan))


def no_texts() -> InputError:
    """What to say where one model is asked about texts."""
    return InputError(
        "task: expected one whose answers are one row per sample, got language; train or import models and "
        "attack them together (docs/language-models.md)"
    )


def side_of(given: Any, what: str, groups: Groups | None = None, axes: int = 1) -> Side:
    """What a caller passed as members or others.

    given: a pair (inputs, labels), labels alone, a `seepage.data.Dataset`, a PyTorch one, the path of
    an .npz, a `Side`, or None where recorded outputs need no labels. what: its name in messages.
    axes: of labels that come alone.
    """
    if isinstance(given, Side):
        side = given
    elif isinstance(given, Dataset):
        targets = None if given.targets is None else given.targets.numpy()
        if given.task == "language":
            raise no_texts()
        by_class = task(given.task).classes
        x = given.inputs if given.file is None else given.rows(np.arange(len(given)))
        side = Side(
            x.numpy(),
            given.labels.numpy() if by_class else targets,
            given.groups,
            given.ids,
            task=given.task,
            soft=targets if by_class else None,
        )
    elif isinstance(given, torch.utils.data.Dataset):
        side = side_of(from_torch(given, name=what), what)
    elif isinstance(given, (str, os.PathLike)):
        side = read_side(given, what)
    elif isinstance(given, (tuple, list)) and len(given) == 2 and np.ndim(given[1]):
        side = Side(given[0], _array(given[1], f"{what}: labels"))
    elif given is None:
        side = Side()
    elif isinstance(given, torch.utils.data.DataLoader):
        raise InputError(f"{what}: expected samples, got a DataLoader; {of_data(given)}")
    elif isinstance(given, tuple):
        raise InputError(
            f"{what}: expected a pair (inputs, labels), got {len(given)} values; pass those two"
        )
    else:
        try:
            labels = _array(given, f"{what}: labels")
        except ValueError as error:
            raise InputError(
                f"{what}: expected (inputs, labels), a seepage.data.Dataset or labels, got "
                f"{type(given).__name__} ({error}); see seepage.data.from_torch for others"
            ) from None
        if labels.ndim != axes or labels.dtype.kind == "O":
            raise InputError(
                f"{what}: expected (inputs, labels), or labels alone (N,), got an array of shape "
                f"{labels.shape}; pass the labels with the inputs"
            )
        side = Side(labels=labels)
    if groups is not None:
        side = replace(side, groups=np.asarray(list(groups)))
    return side


def read_side(path: str | os.PathLike[str], what: str) -> Side:
    """Members or others from an .npz: inputs (or x), labels (or y), groups, ids, recorded outputs.

    Recorded outputs are `logits`, `probabilities`, `predictions` of a regression, `phi`, `loss`,
    `mentr`, `entropy`, `correct`, `residual`.
    Raises InputError for other files and other arrays.
    """
    at = local_path(path, what)
    arrays = read_archive(Path(at), "an .npz file of inputs and labels")
    known = (*_INPUTS, *_LABELS, "groups", "ids", *RECORDED)
    for name in arrays:
        if name not in known and name != "classes":
            raise InputError(f"{at}: array {name!r} is unknown here; known are: {', '.join(known)}")

    def first(names: tuple[str, ...]) -> AnyArray | None:
        return next((arrays[n] for n in names if n in arrays), None)

    recorded = {name: arrays[name] for name in RECORDED if name in arrays}
    side = Side(
        first(_INPUTS), first(_LABELS), arrays.get("groups"), arrays.get("ids"), recorded
    )  # fmt: skip
    if side.inputs is None and not recorded:
        raise InputError(
            f"{at}: expected inputs (or x) and labels (or y), or recorded outputs such as logits, "
            f"got {', '.join(sorted(arrays)) or 'none'}; rename them"
        )
    return side


def named_sides(members: Side, others: Side) -> tuple[list[str], int]:
    """The ids of all samples as an audit tells them, members first, and how many are members.

    >>> named_sides(Side(labels=np.zeros(1)), Side(labels=np.ones(2)))
    (['member/0', 'other/0', 'other/1'], 1)
    """
    first = [
        next((v for v in (s.inputs, s.labels, *s.recorded.values()) if v is not None), ())
        for s in (members, others)
    ]
    sizes = [len(v) for v in first]
    return _ids(members, others, sizes).tolist(), sizes[0]


def pooled(
    members: Side,
    others: Side,
    *,
    drop_copies: bool = False,
    missing: bool = False,
    by_class: bool = True,
) -> tuple[Pool, Int64Array]:
    """Both sides as one pool, checked; and the positions of its samples among all that were given.

    drop_copies: take others that are exact copies of members out, instead of refusing them. missing:
    NaN in inputs stands for a missing value, which the model may take. by_class: whether labels are
    one class per sample. Raises InputError, in one line, where a side is empty, lengths differ, only one side has a
    field, inputs hold NaN, members lie among the others, or a subject lies on both sides.
    """
    sizes = [_size(s, what, by_class) for s, what in ((members, "members"), (others, "others"))]
    for side, what, n in zip((members, others), ("members", "others"), sizes, strict=True):
        if n < 2:
            raise InputError(
                f"{what}: expected at least 2 samples, got {n}; a figure needs members and others"
            )
        _finite_inputs(side.inputs, what, missing)
    labels = _joined(members.labels, others.labels, "labels")
    groups = _joined(members.groups, others.groups, "groups")
    recorded = {
        n: _joined(members.recorded.get(n), others.recorded.get(n), n)
        for n in sorted({*members.recorded, *others.recorded})
    }
    member = np.arange(sum(sizes)) < sizes[0]
    inputs = _inputs(members.inputs, others.inputs)
    pool = Pool(
        inputs,
        labels,
        member,
        None if groups is None else np.asarray([str(g) for g in groups.ravel().tolist()]),
        _ids(members, others, sizes),
        {n: a for n, a in recorded.items() if a is not None},
        _joined(members.soft, others.soft, "targets"),
    )
    twice, repeats = _copies(pool)
    if len(twice) and not drop_copies:
        first = int(twice[0]) - sizes[0]
        raise InputError(
            f"members, others: expected different samples, got {len(twice):,} of {sizes[1]:,} others "
            f"that are exact copies of members, the first at row {first} of the others; take them out "
            "of the others, or pass drop_copies=True (--drop-copies)"
        )
    kept = np.delete(np.arange(len(member)), twice).astype(np.int64)
    if len(twice):
        pool = _rows(pool, kept)
        if (~pool.member).sum() < 2:
            raise InputError(
                f"others: expected at least 2 that are no copies of members, got "
                f"{int((~pool.member).sum())}; pass others that the model was not trained on"
            )
    pool = replace(pool, repeats=repeats)
    if isinstance(pool.unit, Subjects):
        names = np.asarray(pool.groups)
        both = np.intersect1d(names[pool.member], names[~pool.member])
        if both.size:
            raise InputError(
                f"groups: expected every subject among the members or among the others, got "
                f"{both.size} on both sides, the first {str(both[0])!r}; leave the rest of it out"
            )
    return pool, kept


def _rows(pool: Pool, kept: Int64Array) -> Pool:
    """Some samples of a pool."""
    return Pool(
        None if pool.inputs is None else chosen_rows(pool.inputs, kept),
        None if pool.labels is None else pool.labels[kept],
        pool.member[kept],
        None if pool.groups is None else pool.groups[kept],
        pool.ids[kept],
        {n: a[kept] for n, a in pool.recorded.items()},
        None if pool.soft is None else pool.soft[kept],
    )


def chosen_rows(inputs: Any, rows: Int64Array) -> Any:
    """Some of the samples, as the caller's own type."""
    if hasattr(inputs, "iloc"):
        return inputs.iloc[rows]
    if isinstance(inputs, list):
        return [inputs[i] for i in rows.tolist()]
    return inputs[rows]


def key_of(sample: Any) -> bytes:
    """A digest of 128 bits of one sample's content; 0.0 and −0.0 are the same, and all NaN."""
    h = hashlib.blake2b(digest_size=16)
    if isinstance(sample, (str, bytes)):
        h.update(b"text" + (sample.encode() if isinstance(sample, str) else sample))
        return h.digest()
    a = np.asarray(sample)
    if a.dtype.kind == "f":
        a = np.where(np.isnan(a), np.array(np.nan, a.dtype), a + 0.0)
    if a.dtype.hasobject:
        h.update(repr(a.tolist()).encode("utf-8", "surrogatepass"))
    else:
        h.update(repr((a.dtype.str, a.shape)).encode() + np.ascontiguousarray(a).tobytes())
    return h.digest()


def keys_of(inputs: Any, n: int) -> list[bytes]:
    """`key_of` of every sample."""
    rows = inputs.to_numpy() if hasattr(inputs, "iloc") else inputs
    return [key_of(rows[i]) for i in range(n)]


def _array(values: Any, what: str) -> AnyArray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    return given_array(values, what)


def _size(side: Side, what: str, by_class: bool) -> int:
    given = {
        "inputs": side.inputs,
        "labels": side.labels,
        "groups": side.groups,
        "ids": side.ids,
        **side.recorded,
    }
    for name, value in given.items():
        flat = name in ("groups", "ids") or (name == "labels" and by_class)
        shape = np.shape(value) if flat or not isinstance(value, (list, tuple)) else (len(value),)
        if value is not None and (not shape or (flat and len(shape) > 1 and shape[1:] != (1,))):
            if name == "labels" and len(shape) == 2 and shape[-1] > 1:
                raise InputError(
                    f"{what}: labels: expected one class per sample, got shape {shape}; turn one-hot "
                    "labels into numbers, or name the task, multi-label or soft-labels (task=, --task), "
                    "docs/tasks.md"
                )
            wanted = "one value per sample" if flat else "an array with an axis of samples"
            raise InputError(f"{what}: {name}: expected {wanted}, got shape {shape}; reshape it")
    found: dict[str, int] = {name: len(value) for name, value in given.items() if value is not None}
    if not found:
        raise InputError(f"{what}: expected inputs and labels, or recorded outputs, got nothing")
    if len(set(found.values())) > 1:
        raise InputError(f"{what}: expected one of each per sample, got {found}; correct them")
    return next(iter(found.values()))


def _joined(a: AnyArray | None, b: AnyArray | None, what: str) -> AnyArray | None:
    if a is None and b is None:
        return None
    if a is None or b is None:
        raise InputError(
            f"{what}: expected them for members and others alike, got those of the "
            f"{'others' if a is None else 'members'} alone; pass both"
        )
    a, b = np.asarray(a), np.asarray(b)
    if a.shape[1:] != b.shape[1:]:
        raise InputError(
            f"{what}: expected one shape for members and others, got {a.shape} and {b.shape}"
        )
    return np.concatenate([a, b])


def _inputs(a: Any, b: Any) -> Any:
    if a is None and b is None:
        return None
    if a is None or b is None:
        raise InputError("inputs: expected them for members and others alike; pass both")
    if hasattr(a, "iloc") and hasattr(b, "iloc"):
        if list(a.columns) != list(b.columns):
            raise InputError("inputs: expected the same columns for members and others; align them")
        return importlib.import_module("pandas").concat([a, b], ignore_index=True)
    if _listed(a) and _listed(b):
        return [*a, *b]
    x, y = _array(a, "members: inputs"), _array(b, "others: inputs")
    if x.dtype.kind == "O" or y.dtype.kind == "O":
        return [*x.tolist(), *y.tolist()]
    if x.shape[1:] != y.shape[1:] or x.dtype != y.dtype:
        raise InputError(
            f"inputs: expected one shape and type for members and others, got {x.dtype} "
            f"{x.shape[1:]} and {y.dtype} {y.shape[1:]}; convert them alike"
        )
    return np.concatenate([x, y])


def _listed(a: Any) -> bool:
    """A list of texts, or of samples that differ in shape."""
    if not isinstance(a, (list, tuple)):
        return False
    return any(isinstance(v, (str, bytes)) for v in a) or len({np.shape(v) for v in a}) > 1


def _finite_inputs(inputs: Any, what: str, missing: bool) -> None:
    if inputs is None or hasattr(inputs, "iloc") or isinstance(inputs, (list, tuple)):
        return  # a data frame's missing values, and a service's texts, are its own affair
    x = _array(inputs, f"{what}: inputs")
    if x.dtype.kind != "f":
        return
    bad = (np.isinf(x) if missing else ~np.isfinite(x)).reshape(len(x), -1).any(axis=1)
    if bad.any():
        raise InputError(
            f"{what}: expected finite inputs, got {'' if missing else 'NaN or '}infinity in {int(bad.sum()):,} samples, the "
            f"first at row {int(bad.argmax())}; impute them or leave them out"
        )


def _ids(members: Side, others: Side, sizes: list[int]) -> NDArray[np.str_]:
    out: list[str] = []
    for side, what, n in zip((members, others), ("member", "other"), sizes, strict=True):
        own = None if side.ids is None else [str(i) for i in np.asarray(side.ids).ravel().tolist()]
        out += own if own is not None else [f"{what}/{i}" for i in range(n)]
    if len(set(out)) < len(out):  # Two data sets that number their samples alike.
        out = [f"member/{i}" for i in range(sizes[0])] + [f"other/{i}" for i in range(sizes[1])]
    return np.asarray(out)


def _copies(pool: Pool) -> tuple[Int64Array, tuple[int, int]]:
    """Positions of others that are exact copies of members, inputs and label; copies within sides."""
    if pool.inputs is None:
        return np.zeros(0, dtype=np.int64), (0, 0)
    n = len(pool.member)
    keys = keys_of(pool.inputs, n)
    labels: list[Any] = [None] * n
    if pool.labels is not None:
        flat = pool.labels.ndim == 1 or pool.labels.shape[1:] == (1,)
        labels = pool.labels.ravel().tolist() if flat else [r.tobytes() for r in pool.labels]
    members, others = (np.flatnonzero(side).tolist() for side in (pool.member, ~pool.member))
    known = {(keys[i], labels[i]) for i in members}
    rest = [(keys[i], labels[i]) for i in others if (keys[i], labels[i]) not in known]
    twice = [i for i in others if (keys[i], labels[i]) in known]
    repeats = len(members) - len(known), len(rest) - len(set(rest))
    return np.array(twice, dtype=np.int64), repeats


def class_numbers(labels: ArrayLike, classes: AnyArray | None, what: str = "labels") -> Int64Array:
    """Labels as numbers of the model's columns: (N,) -> (N,) int64.

    classes: the model's own list, such as an estimator's `classes_`; None takes whole numbers as
    they are.
    """
    y = given_array(labels, what)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise InputError(
            f"{what}: expected one per sample, got shape {y.shape}; turn one-hot labels into numbers"
        )
    if classes is not None and np.ndim(classes) != 1:
        raise InputError(
            f"{what}: expected a model of one label per sample, got one with {len(classes)} of them; "
            "audit one output"
        )
    if classes is not None:
        number = {c: k for k, c in enumerate(np.asarray(classes).tolist())}
        unknown = [v for v in y.tolist() if v not in number]
        if unknown:
            raise InputError(
                f"{what}: expected one of the model's {len(number)} classes, got {unknown[0]!r}; "
                f"they are {', '.join(map(repr, list(number)[:8]))}"
            )
        return np.array([number[v] for v in y.tolist()], dtype=np.int64)
    if y.dtype.kind in "SUO":
        raise InputError(
            f"{what}: expected whole numbers, the columns of the model's outputs, got text such as "
            f"{str(y[0])!r}; pass the estimator itself, whose classes_ give the order, or number the "
            "classes as the model does: numpy.searchsorted(model.classes_, labels)"
        )
    y = y.astype(np.float64) if y.dtype.kind == "f" else y
    if y.dtype.kind == "f" and not ((y == np.floor(y)) & (np.abs(y) < 2**31)).all():
        row = int(((y != np.floor(y)) | (np.abs(y) >= 2**31)).argmax())
        raise InputError(
            f"{what}: expected whole numbers, got {y[row]:g} at row {row}; of real targets name the "
            "task, regression (task=, --task), docs/tasks.md"
        )
    return y.astype(np.int64)
