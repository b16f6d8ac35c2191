"""Data frames of pandas and polars as callers pass them, told by their classes: neither is imported.

A frame is rows in order: its index is no part of what is trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from seepage.array_types import Int64Array

__all__ = ["column_names", "columns_of", "is_frame", "is_series", "own_frame", "rows_of_frame"]

_LIBRARIES = ("pandas", "polars")
_PLAIN = (bool, int, float, str, bytes)


def is_frame(given: Any) -> bool:
    """Whether it is a DataFrame.

    >>> is_frame({"a": [1]})
    False
    """
    return bool(_library(given, "DataFrame"))


def is_series(given: Any) -> bool:
    """Whether it is a Series, one column."""
    return bool(_library(given, "Series"))


def _library(given: Any, name: str) -> str:
    roots = (str(c.__module__).partition(".")[0] for c in type(given).__mro__ if c.__name__ == name)
    return next((root for root in roots if root in _LIBRARIES), "")


def own_frame(frame: Any) -> Any:
    """A copy that its owner does not change, rows numbered from 0."""
    return frame.clone() if _polars(frame) else frame.reset_index(drop=True).copy()


def rows_of_frame(frame: Any, rows: Int64Array) -> Any:
    """The rows at these positions, in this order, as a frame of its own."""
    return frame[rows] if _polars(frame) else frame.iloc[rows].copy()


def column_names(frame: Any) -> list[str]:
    """Names of the columns, as text."""
    return [str(name) for name in frame.columns]


def columns_of(given: Any) -> Iterator[tuple[str, str, Any, Any]]:
    """Everything that a frame or a Series says: name, type and values of each column, and its levels.

    Values are an array of numbers, or a list with None where one is missing; of categories they are
    codes, and levels are the list of categories with whether they are ordered. The index comes last,
    unless it numbers rows from 0.
    """
    if is_series(given):
        yield str(given.name), str(given.dtype), *_values(given)
    else:
        for at, name in enumerate(given.columns):
            column = given[:, at] if _polars(given) else given.iloc[:, at]
            yield repr(name), str(column.dtype), *_values(column)
    if not _polars(given):
        numbered = given.index.dtype.kind in "iu" and given.index.nlevels == 1
        if not (numbered and np.array_equal(np.asarray(given.index), np.arange(len(given)))):
            yield "index", repr(given.index.names), [_plain(v) for v in given.index], None


def _polars(given: Any) -> bool:
    return "polars" in (_library(given, "DataFrame"), _library(given, "Series"))


def _values(column: Any) -> tuple[Any, Any]:
    if _polars(column):
        numbers = column.dtype.is_numeric() and not column.null_count()
        return (column.to_numpy() if numbers else [_plain(v) for v in column.to_list()]), None
    if str(column.dtype) == "category":
        levels = [_plain(v) for v in column.cat.categories]
        return np.asarray(column.cat.codes), [levels, bool(column.cat.ordered)]
    if isinstance(column.dtype, np.dtype):
        values = np.asarray(column)
        return (values if values.dtype != object else values.tolist()), None
    missing = np.asarray(column.isna(), dtype=bool)
    told = column.astype(object).tolist()
    return [None if gone else _plain(v) for v, gone in zip(told, missing, strict=True)], None


def _plain(value: Any) -> Any:
    """A value as it is or as it is written."""
    return value if value is None or isinstance(value, _PLAIN) else repr(value)
