"""What a reader hands over: arrays per part, before they become one resident dataset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import AnyArray, BoolArray, Int64Array
from seepage.data.dataset import Kind
from seepage.errors import InputError

__all__ = ["PARTS", "Part", "Raw", "check_labels", "name_labels", "row_ids"]

PARTS = ("train", "test")

Array = AnyArray


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a data set: inputs (N, ...), labels int64 (N,), ids (N,)."""

    inputs: Array
    labels: Int64Array
    ids: NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Raw:
    """The parts that were read, in the order of `PARTS`, and what they have in common."""

    parts: dict[str, Part]
    classes: tuple[str, ...]
    name: str
    kind: Kind
    columns: tuple[str, ...] = ()
    numeric: BoolArray | None = None


def row_ids(part: str, n: int) -> NDArray[np.str_]:
    """Ids "train/0" ... of a part whose samples have no names of their own."""
    return np.array([f"{part}/{row}" for row in range(n)], dtype=np.str_)


def check_labels(where: object, labels: Array, classes: int) -> Int64Array:
    """Labels as int64, refused with their file and row when outside 0..K−1."""
    labels = np.asarray(labels).astype(np.int64)
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if bad.size:
        raise InputError(
            f"{where}: expected labels in 0..{classes - 1}, got {labels[bad[0]]} at row {bad[0]}; "
            "check that this is the label file or column of this data set"
        )
    return labels


def name_labels(
    where: object, parts: dict[str, Array], classes: tuple[str, ...] | None
) -> tuple[dict[str, Int64Array], tuple[str, ...]]:
    """Labels of all parts as 0..K−1 and the K class names, agreed over the parts.

    Whole numbers are taken as they are and must then cover 0..K−1 without a gap unless `classes`
    names the K classes; text is numbered in sorted order.
    """
    whole = np.concatenate([np.asarray(v) for v in parts.values()])
    if whole.dtype.kind in "SU":
        names = classes if classes else tuple(sorted({str(v) for v in whole.astype(np.str_)}))
        at = {name: k for k, name in enumerate(names)}
        unknown = sorted({str(v) for v in whole.astype(np.str_)} - set(names))
        if unknown:
            raise InputError(
                f"{where}: expected labels among the {len(names)} classes, got {unknown[0]!r}; "
                "add it to classes or drop its rows"
            )
        return {
            p: np.array([at[str(x)] for x in np.asarray(v).astype(np.str_)], dtype=np.int64)
            for p, v in parts.items()
        }, names
    if whole.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(whole) | (whole != np.round(whole)))
        if bad.size:
            raise InputError(
                f"{where}: expected whole-number labels, got {whole[bad[0]]} at row {bad[0]}; "
                "seepage audits classifiers, bin a continuous target first"
            )
    elif whole.dtype.kind not in "iub":
        raise InputError(
            f"{where}: expected labels as integers or text, got {whole.dtype}; convert them"
        )
    if classes is None:
        present = np.unique(whole.astype(np.int64))
        if present.size and present[0] >= 0 and present[-1] + 1 != present.size:
            gap = int(np.flatnonzero(present != np.arange(present.size))[0])
            raise InputError(
                f"{where}: expected labels 0..K-1 without gaps, got {present[gap]} but no {gap}; "
                "renumber them or store the class names as an array 'classes'"
            )
        classes = tuple(str(k) for k in range(int(present[-1]) + 1)) if present.size else ()
    return {p: check_labels(where, np.asarray(v), len(classes)) for p, v in parts.items()}, classes
