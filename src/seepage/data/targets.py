"""What samples are asked for, by task: classes, label vectors, real numbers, distributions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import AnyArray, BoolArray, Int64Array
from seepage.errors import InputError
from seepage.short_repr import short_repr

__all__ = ["Asked", "faulty", "target_values"]


@short_repr
@dataclass(frozen=True, eq=False)
class Asked:
    """Labels (N,) by part, the classes' names, and targets by part where the task has them."""

    labels: Mapping[str, Int64Array]
    classes: tuple[str, ...]
    targets: Mapping[str, NDArray[np.float32]]


def target_values(
    where: object,
    parts: Mapping[str, AnyArray],
    task: str,
    names: tuple[str, ...] | None = None,
) -> Asked:
    """Targets of a task that has some, as float32, from arrays of numbers by part.

    "regression": (N,) or (N, 1), classes the target's one name. "multi-label": (N, L) of 0 and 1.
    "soft-labels": distributions (N, K); the label is then the most likely class, for display alone.
    Values are looked over by `Dataset`. Raises InputError for other shapes, text, and real targets
    that 32-bit floats cannot tell apart.

    >>> target_values("t", {"train": np.array([1.0, 2.5])}, "regression").targets["train"].tolist()
    [1.0, 2.5]
    """
    if task == "language":
        raise InputError(
            f"{where}: expected no labels with task = 'language', whose samples are texts; make them by "
            "seepage.data.from_texts, or of token numbers by seepage.data.from_tokens"
        )
    found: dict[str, NDArray[np.float32]] = {}
    for part, given in parts.items():
        values = np.asarray(given)
        if values.dtype.kind not in "buif":
            raise InputError(
                f"{where}: expected targets as numbers with task = {task!r}, got {values.dtype}; "
                "convert them"
            )
        wide = values.astype(np.float64)
        if task == "regression":
            found[part] = _real(where, wide)
            continue
        if wide.ndim != 2 or not wide.shape[1]:
            what = "label" if task == "multi-label" else "class"
            raise InputError(
                f"{where}: expected targets (samples, {what}s) with task = {task!r}, got shape "
                f"{wide.shape}; give a column for each {what}"
            )
        with np.errstate(over="ignore"):
            found[part] = wide.astype(np.float32)
    widths = {1 if v.ndim == 1 else v.shape[1] for v in found.values()}
    if len(widths) > 1:
        raise InputError(
            f"{where}: expected as many targets in every part, got {sorted(widths)}; use files of "
            "one form"
        )
    width = widths.pop()
    default = ("target",) if task == "regression" else tuple(str(k) for k in range(width))
    classes = names if names else default
    if len(classes) != width:
        raise InputError(
            f"{where}: expected {width} names, one per target, got {len(classes)}; correct classes"
        )
    labels = {
        part: values.argmax(axis=1).astype(np.int64)
        if task == "soft-labels"
        else np.zeros(len(values), dtype=np.int64)
        for part, values in found.items()
    }
    return Asked(labels, classes, found)


def faulty(targets: AnyArray, task: str) -> tuple[BoolArray, str]:
    """Which rows are no targets of the task, (N,) bool, and what was expected of them.

    targets: (N,) or (N, K) floats. "regression": finite; "multi-label": 0 and 1; else distributions.

    >>> faulty(np.array([[0.5, 0.5], [0.5, 0.6]]), "soft-labels")[0].tolist()
    [False, True]
    """
    y = targets.reshape(len(targets), -1)
    bad: BoolArray = np.logical_not(np.isfinite(y).all(axis=1))
    if bad.any() or task == "regression":
        return bad, "finite targets"
    if task == "multi-label":
        bad = np.logical_not(((y == 0) | (y == 1)).all(axis=1))
        return bad, "labels of 0 or 1"
    bad = (y < 0).any(axis=1) | (np.abs(y.sum(axis=1, dtype=np.float64) - 1) > 1e-3)
    return bad, "distributions of values from 0 that sum to 1"


def _real(where: object, values: AnyArray) -> NDArray[np.float32]:
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise InputError(
            f"{where}: expected one target per sample with task = 'regression', got shape "
            f"{values.shape}; audit one target at a time"
        )
    with np.errstate(over="ignore"):
        narrow: NDArray[np.float32] = values.astype(np.float32)
    if np.isfinite(narrow).all() and len(values) > 1:
        reach, spread = np.abs(values).max(), values.std()
        if reach * 2.0**-24 > 1e-3 * spread > 0:
            raise InputError(
                f"{where}: expected targets whose spread 32-bit floats can hold, got "
                f"{values.min():.10g}..{values.max():.10g}; subtract a constant from them first"
            )
    return narrow
