"""Columns of a table as numbers: numbers raw, categories one-hot, wherever the table came from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import AnyArray, BoolArray, Float64Array
from seepage.data.reading import MISSING
from seepage.errors import InputError
from seepage.short_repr import short_repr

__all__ = [
    "MARKED",
    "ColumnRules",
    "Encoded",
    "as_numbers",
    "as_text_column",
    "encode",
    "plain_chunks",
    "plain_number",
    "refuse_row_numbers",
]

_MISSING_LEVEL = "?"
# Numbers as people and spreadsheets write them: 1,5 and 1,000 and 5% and $3 and 1_000.
MARKED = re.compile(
    r"[(\-+−]?\s*[$€£¥]?\s*[-+−]?"
    r"(\d{1,3}([,.'’_\s\u00a0\u202f]\d{3})+([.,]\d+)?|\d+([.,]\d+)?|[.,]\d+)(e[-+]?\d+)?"
    r"\s*[%‰$€£¥]?\)?",
    re.IGNORECASE,
)
_PLAIN = re.compile(
    r"[-+]?([0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(e[-+]?[0-9]{1,6})?|[-+]?inf(inity)?",
    re.IGNORECASE,
)


# What pandas and R call a column of row numbers that was saved with the table.
_INDEX = re.compile(r"|Unnamed: \d+|__index_level_\d+__")


@dataclass(frozen=True)
class ColumnRules:
    """How columns are encoded, and how a message says what would help.

    categorical: columns whose numbers are categories. missing, fill, max_levels: as in `seepage.load`.
    frame: whether the columns are those of a data frame, which its owner changes, not an option.
    """

    categorical: tuple[str, ...] = ()
    missing: Literal["refuse", "indicator", "keep"] = "refuse"
    fill: float | Mapping[str, float] = 0.0
    max_levels: int = 256
    frame: bool = False

    def leave_out(self, name: str) -> str:
        """How a column is left out."""
        return f'pass the frame without "{name}"' if self.frame else f'pass drop=["{name}"]'

    def as_category(self, name: str) -> str:
        """How a column is said to hold categories."""
        if self.frame:
            return f'make it categories: frame.astype({{"{name}": "category"}})'
        return f'pass categorical=["{name}"]'


@short_repr
@dataclass(eq=False)
class Encoded:
    """Columns made so far, each for all rows of all files."""

    values: list[NDArray[np.float32]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    numeric: list[bool] = field(default_factory=list)

    def add(self, name: str, values: AnyArray, numeric: bool) -> None:
        with np.errstate(over="ignore"):  # of a fill; infinity is refused with its row
            self.values.append(values.astype(np.float32))
        self.names.append(name)
        self.numeric.append(numeric)


def refuse_row_numbers(name: str, rules: ColumnRules) -> None:
    """Raise InputError for a column without a name, or called as row numbers that were stored."""
    if _INDEX.fullmatch(name):
        raise InputError(
            f"columns: expected a name for every column, got {name!r}, which looks like a "
            f"stored row number; {rules.leave_out(name)} or name the column"
        )


def plain_chunks(
    where: str, name: str, column: Any, rules: ColumnRules, exact: bool = False
) -> list[Any]:
    """Chunks as float64 or trimmed text, null where nothing was given.

    column: chunks of pyarrow. exact: always as text, so that large whole numbers stay what they are.
    Raises InputError for what is no number, text or truth value.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if numbers and not exact:
        return list(column.cast(pa.float64(), safe=False).chunks)
    if pa.types.is_float16(kind):
        column = column.cast(pa.float32())
    if not (
        numbers
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_null(kind)
    ):
        raise InputError(
            f"{where}: expected numbers, text or booleans in column {name!r}, got {kind}; "
            f"convert it or {rules.leave_out(name)}"
        )
    return list(pc.utf8_trim_whitespace(column.cast(pa.string())).chunks)


def as_text_column(column: Any) -> NDArray[np.str_]:
    """A column as text, empty where nothing was given."""
    import pyarrow as pa
    import pyarrow.compute as pc

    filled = pc.fill_null(column.cast(pa.string()), "")
    return np.asarray(filled.to_numpy(zero_copy_only=False)).astype(np.str_)


def as_numbers(column: Any) -> tuple[Float64Array, BoolArray] | None:
    """Values and where one is missing, or None when some value present is no number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(column.type):
        lower = pc.utf8_lower(column)
        absent = pc.fill_null(pc.is_in(lower, value_set=pa.array(MISSING)), True)
        try:
            column = pc.if_else(absent, None, column).cast(pa.float64())
        except pa.ArrowInvalid:
            return None
    values = np.asarray(pc.fill_null(column, float("nan")).to_numpy(), dtype=np.float64)
    if np.isnan(values).all():
        return None
    return values, np.isnan(values)


def plain_number(text: str) -> Fraction | float | None:
    """Exactly what a text says as a number, infinity where it is beyond all labels, or None."""
    if not _PLAIN.fullmatch(text):
        return None
    mantissa, _, power = text.lower().partition("e")
    if "inf" in mantissa or abs(int(power or 0)) > 30:
        return math.inf
    return Fraction(text)


def encode(where: str, name: str, column: Any, rules: ColumnRules, encoded: Encoded) -> None:
    """Add a column (N,) to those encoded: as it is where all present are numbers, else by levels.

    Raises InputError, with the row, for what `read_table` refuses.
    """
    numbers = None if name in rules.categorical else as_numbers(column)
    if numbers is None:
        text = as_text_column(column)
        if name not in rules.categorical:
            _check_no_numbers(where, name, text, rules)
        _encode_levels(where, name, text, rules, encoded)
        return
    values, absent = numbers
    if absent.any() and rules.missing == "refuse":
        raise InputError(
            f"{where}: expected a number in every row of column {name!r}, got {absent.sum()} "
            f'missing, first at row {int(absent.argmax())}; pass missing="indicator", "keep" for an '
            "estimator that takes missing values, or drop it"
        )
    present = values[~absent]
    if not np.isfinite(present).all():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise InputError(
            f"{where}: expected finite numbers in column {name!r}, got infinity at row {row}; "
            "repair it"
        )
    low, high = float(present.min()), float(present.max())
    if max(abs(low), abs(high)) > float(np.finfo(np.float32).max):
        raise InputError(
            f"{where}: expected numbers that 32-bit floats hold in column {name!r}, got "
            f"{low:g}..{high:g}; scale it or take its logarithm"
        )
    if low == high:
        if not absent.any():
            raise InputError(
                f"{where}: expected columns that vary, got only {low:g} in column {name!r}; "
                f"{rules.leave_out(name)}"
            )
    elif max(abs(low), abs(high)) * 2.0**-24 > 1e-3 * float(present.std()):
        raise InputError(
            f"{where}: expected a spread that 32-bit floats can hold, column {name!r} lies in "
            f"{low:.10g}..{high:.10g}; subtract a constant from it first"
        )
    if absent.any() and rules.missing == "indicator":
        fill = rules.fill.get(name, 0.0) if isinstance(rules.fill, Mapping) else rules.fill
        encoded.add(name, np.where(absent, fill, values), True)
        encoded.add(f"{name} missing", absent, False)
    else:
        encoded.add(name, values, True)


def _check_no_numbers(where: str, name: str, text: NDArray[np.str_], rules: ColumnRules) -> None:
    """Refuse categories that look like numbers: with marks, or with a few others among them."""
    levels, first, counts = np.unique(text, return_index=True, return_counts=True)
    held = [
        (int(n), int(row), str(level))
        for level, row, n in zip(levels, first, counts, strict=True)
        if str(level).lower() not in MISSING
    ]
    odd = [x for x in held if plain_number(x[2]) is None]
    marked = [x for x in odd if MARKED.fullmatch(x[2])]
    plain = sum(n for n, _, _ in held) - sum(n for n, _, _ in odd)
    if not odd or (len(marked) < len(odd) and 2 * plain < sum(n for n, _, _ in held)):
        return
    _, row, value = min(marked or odd, key=lambda x: x[1])
    what = "a number with marks" if marked else "something else"
    raise InputError(
        f"{where}: expected plain numbers such as 1234.5 or names in column {name!r}, got {what}, "
        f"{value!r}, at row {row}; write it as a number, leave it empty where it is missing, or "
        f"{rules.as_category(name)}"
    )


def _encode_levels(
    where: str, name: str, text: NDArray[np.str_], rules: ColumnRules, encoded: Encoded
) -> None:
    text = np.where(text == "", _MISSING_LEVEL, text)
    levels, at = np.unique(text, return_inverse=True)
    if len(levels) == 1:
        raise InputError(
            f"{where}: expected columns that vary, got only {str(levels[0])!r} in column {name!r}; "
            f"{rules.leave_out(name)}"
        )
    if len(levels) > rules.max_levels:
        raise InputError(
            f"{where}: expected at most {rules.max_levels} levels in text column {name!r}, got "
            f"{len(levels)}; {rules.leave_out(name)} or "
            + ("join rare levels" if rules.frame else "raise max_levels")
        )
    for k, level in enumerate(levels):
        encoded.add(f"{name}={level}", at == k, False)
