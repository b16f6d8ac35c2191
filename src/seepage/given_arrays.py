"""Arrays as callers pass them: refused where making them plain would drop part of what they say."""

from __future__ import annotations

from typing import Any

import numpy as np

from seepage.array_types import AnyArray, BoolArray, Float64Array
from seepage.errors import InputError

__all__ = ["given_array", "given_bools", "given_floats"]


def given_array(values: Any, what: str) -> AnyArray:
    """`values` as a plain array, nothing dropped; a view of them where that is possible.

    what: its name in messages. Raises InputError for a masked array that masks something, whose
    values below the mask would be taken for measured, and for complex numbers, whose imaginary
    parts would be lost.

    >>> given_array([1, 2], "scores").tolist()
    [1, 2]
    >>> given_array(np.ma.array([1.0, 9.0], mask=[False, True]), "scores")
    Traceback (most recent call last):
        ...
    seepage.errors.InputError: scores: expected values everywhere, got a mask over 1 of 2, ...
    """
    if isinstance(values, np.ma.MaskedArray):
        mask = np.asarray(np.ma.getmaskarray(values))
        hidden = int(mask.sum())
        if hidden:
            raise InputError(
                f"{what}: expected values everywhere, got a mask over {hidden} of {values.size}, "
                "the first at "
                f"{tuple(int(i) for i in np.argwhere(mask)[0])}; "
                "leave those samples or runs out"
            )
    array = np.asarray(values)
    if array.dtype.kind == "c":
        raise InputError(
            f"{what}: expected real numbers, got {array.dtype}; pass the part or size that is meant"
        )
    return array


def given_floats(values: Any, what: str) -> Float64Array:
    """`given_array` in float64, a view of it where that is possible."""
    floats: Float64Array = given_array(values, what).astype(np.float64, copy=False)
    return floats


def given_bools(values: Any, what: str) -> BoolArray:
    """`given_array` as truth values, a view of it where that is possible."""
    bools: BoolArray = given_array(values, what).astype(np.bool_, copy=False)
    return bools
