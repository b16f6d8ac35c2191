"""Data frames as a pool: their columns are encoded as those of the same table in a file."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray
from seepage.data.columns import ColumnRules, Encoded, encode, plain_chunks, refuse_row_numbers
from seepage.errors import InputError
from seepage.frames import column_names

__all__ = ["encode_frame"]

_WRITTEN = (str, bool, int, float, np.bool_, np.integer, np.floating, Decimal)


def encode_frame(
    where: str, frame: Any, missing: Literal["refuse", "indicator", "keep"] = "refuse"
) -> tuple[NDArray[np.float32], tuple[str, ...], BoolArray]:
    """The rows of a frame (N, D), the columns' names, and which hold numbers (D,).

    frame: of pandas or polars; its index is passed over. Columns are those that `seepage.load` makes
    of the same table written as CSV; a column of type category is one that `categorical` names there.
    missing: "refuse", "indicator" or "keep", as in `seepage.load`, with a fill of 0.

    Raises InputError for what `seepage.load` refuses, and for columns that hold neither numbers, text
    nor truth values.
    """
    names = column_names(frame)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"{where}: expected every column name once, got {twice!r} twice; rename one"
        )
    if not names or not len(frame):
        what = "column" if len(frame) else "row"
        raise InputError(f"{where}: expected at least one {what}, got none; check the frame")
    types = [str(t) for t in frame.dtypes]
    chosen = tuple(n for n, t in zip(names, types, strict=True) if _categories(t))
    rules = ColumnRules(chosen, missing, frame=True)
    encoded = Encoded()
    for at, name in enumerate(names):
        refuse_row_numbers(name, rules)
        column = _arrow(where, frame, at, name, types[at], rules)
        encode(where, name, column, rules, encoded)
    numeric = np.array(encoded.numeric, dtype=np.bool_)
    return np.stack(encoded.values, axis=1), tuple(encoded.names), numeric


def _categories(dtype: str) -> bool:
    return dtype == "category" or dtype.startswith(("Categorical", "Enum"))


def _arrow(where: str, frame: Any, at: int, name: str, dtype: str, rules: ColumnRules) -> Any:
    """One column as chunks of pyarrow: float64, or text, null where nothing was given."""
    import pyarrow as pa

    if hasattr(frame, "iloc"):
        column = frame.iloc[:, at]
        if getattr(column.dtype, "kind", "O") in "iuf":
            held = column.to_numpy(dtype=np.float64, na_value=np.nan)
            whole = pa.chunked_array([pa.array(held, from_pandas=True)])
        elif dtype == "category" or getattr(column.dtype, "kind", "O") in "ObU":
            whole = pa.chunked_array([pa.array(_texts(where, column, name, rules), pa.string())])
        else:
            whole = pa.chunked_array([pa.array(column, from_pandas=True)])
    else:
        whole = frame[:, at].to_frame().to_arrow().column(0)
    return pa.chunked_array(plain_chunks(where, name, whole, rules))


def _texts(where: str, column: Any, name: str, rules: ColumnRules) -> list[str | None]:
    """Values as CSV has them, None where one is missing."""
    told = column.astype(object).tolist()
    missing = np.asarray(column.isna(), dtype=np.bool_).tolist()
    for row, (value, gone) in enumerate(zip(told, missing, strict=True)):
        if not gone and not isinstance(value, _WRITTEN):
            raise InputError(
                f"{where}: expected numbers, text or booleans in column {name!r}, got "
                f"{type(value).__name__} at row {row}; convert it or {rules.leave_out(name)}"
            )
    return [None if gone else str(v) for v, gone in zip(told, missing, strict=True)]
