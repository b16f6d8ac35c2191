"""Arrays as callers pass them: refused where making them plain would drop part of what they say."""

from __future__ import annotations

from typing import Any

import numpy as np

from seepage.array_types import AnyArray, BoolArray, Float64Array
from seepage.errors import InputError

__all__ = ["given_array", "given_bools", "given_floats", "given_numbers", "of_one_shape"]


def given_array(values: Any, what: str) -> AnyArray:
    """`values` as a plain array, nothing dropped; a view of them where that is possible.

    what: its name in messages. Raises InputError for a masked array that masks something, whose
    values below the mask would be taken for measured, for complex numbers, whose imaginary parts would be
    lost, and for rows of several lengths.

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
    try:
        array = np.asarray(values)
    except ValueError as e:
        raise InputError(
            f"{what}: expected an array, got {type(values).__name__} ({e}); pass rows of one length"
        ) from None
    if array.dtype.kind == "c":
        raise InputError(
            f"{what}: expected real numbers, got {array.dtype}; pass the part or size that is meant"
        )
    return array


def given_numbers(values: Any, what: str) -> AnyArray:
    """`given_array` of numbers or truth values.

    Raises InputError for text, objects, dates and records too, which NumPy would convert where it
    can.

    >>> given_numbers([1.5, 2], "scores").tolist()
    [1.5, 2.0]
    >>> given_numbers(["1.5", "2"], "scores")
    Traceback (most recent call last):
        ...
    seepage.errors.InputError: scores: expected numbers or truth values, got <U3; convert them
    """
    array = given_array(values, what)
    if array.dtype.kind not in "biuf":
        kind = f"{array.dtype}" if array.ndim else f"{type(values).__name__}"
        raise InputError(f"{what}: expected numbers or truth values, got {kind}; convert them")
    return array


def given_floats(values: Any, what: str) -> Float64Array:
    """`given_numbers` in float64, a view of it where that is possible."""
    floats: Float64Array = given_numbers(values, what).astype(np.float64, copy=False)
    return floats


def given_bools(values: Any, what: str) -> BoolArray:
    """`given_numbers` as truth values, a view of it where that is possible.

    Raises InputError for numbers other than 0 and 1, which may be positions.

    >>> given_bools([2, 5], "member")
    Traceback (most recent call last):
        ...
    seepage.errors.InputError: member: expected truth values, got 2; of positions \
numpy.isin(numpy.arange(n), positions) makes them
    """
    array = given_numbers(values, what)
    if array.dtype != np.bool_:
        other = (array != 0) & (array != 1)
        if other.any():
            raise InputError(
                f"{what}: expected truth values, got {array[other][0]:g}; of positions "
                "numpy.isin(numpy.arange(n), positions) makes them"
            )
    bools: BoolArray = array.astype(np.bool_, copy=False)
    return bools


def of_one_shape(*arrays: AnyArray, what: str) -> tuple[AnyArray, ...]:
    """Arrays broadcast against each other; `what` names them in messages.

    >>> [a.shape for a in of_one_shape(np.zeros(3), np.zeros(()), what="k, n")]
    [(3,), (3,)]
    >>> of_one_shape(np.zeros(3), np.zeros(2), what="k, n")
    Traceback (most recent call last):
        ...
    seepage.errors.InputError: k, n: expected shapes that broadcast, got (3,) and (2,); pass as many of each
    """
    try:
        return tuple(np.broadcast_arrays(*arrays))
    except ValueError:
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise InputError(
            f"{what}: expected shapes that broadcast, got {shapes}; pass as many of each"
        ) from None
