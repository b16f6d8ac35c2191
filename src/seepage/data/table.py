"""Tables from CSV and Parquet: numbers raw, categories one-hot, one column as the label."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.data.reading import Part, Raw, one_line, read_all, reading, row_ids
from seepage.errors import InputError, nearest

__all__ = ["CSV_SUFFIXES", "PARQUET_SUFFIXES", "TableOptions", "read_table"]

CSV_SUFFIXES = (".csv", ".tsv", ".data", ".test", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
_MISSING_NUMBER = ("", "?", "na", "n/a", "nan", "null", "none")
_MISSING_LEVEL = "?"
_MOST_CLASSES = 1000


@dataclass(frozen=True)
class TableOptions:
    """How a table is read; the arguments of `seepage.load` of the same names."""

    label: str | None = None
    columns: tuple[str, ...] | None = None
    id_column: str | None = None
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    missing: Literal["refuse", "indicator"] = "refuse"
    fill: float | Mapping[str, float] = 0.0
    max_levels: int = 256
    delimiter: str | None = None
    comment: str = "#|"


@dataclass(eq=False)
class _Encoded:
    """Columns made so far, each for all rows of all files."""

    values: list[NDArray[np.float32]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    numeric: list[bool] = field(default_factory=list)

    def add(self, name: str, values: AnyArray, numeric: bool) -> None:
        self.values.append(values.astype(np.float32))
        self.names.append(name)
        self.numeric.append(numeric)


def read_table(files: Mapping[str, Path], options: TableOptions) -> Raw:
    """Tables of all parts, encoded together so that they agree on columns and classes.

    A column is numeric when every value present is a number; its raw values are kept. Any other
    column is categorical: one column of 0 and 1 per level that occurs in any of the files, named
    "column=level", missing values being a level "?" of their own. Only which levels exist is
    shared between rows; no statistic is.
    """
    import pyarrow as pa

    if options.label is None:
        raise InputError(
            f"label: expected the name of the label column of {next(iter(files.values()))}, "
            'got none; pass label="..."'
        )
    if options.missing not in ("refuse", "indicator"):
        raise InputError(
            f'missing: expected "refuse" or "indicator", got {options.missing!r}; choose one'
        )
    tables = {part: _read(path, options) for part, path in files.items()}
    first, *others = tables
    names = tables[first].column_names
    for other in others:
        if tables[other].column_names != names:
            raise InputError(
                f"{files[other]}: expected the columns of {files[first].name} "
                f"({len(names)}, first {names[0]!r}), got {tables[other].num_columns}, first "
                f"{tables[other].column_names[0]!r}; use files of one form or pass columns=[...]"
            )
    _check_names(options, names)
    sizes = {part: table.num_rows for part, table in tables.items()}
    for part, size in sizes.items():
        if size == 0:
            raise InputError(f"{files[part]}: expected at least one row, got none; check the file")
    where = " and ".join(str(path) for path in files.values())
    whole = {
        name: pa.chunked_array(
            [chunk for t in tables.values() for chunk in _plain(where, name, t.column(name))]
        )
        for name in names
        if name not in options.drop
    }
    labels, classes = _labels(where, options.label, whole.pop(options.label))
    ids = whole.pop(options.id_column) if options.id_column else None
    encoded = _Encoded()
    for name, column in whole.items():
        _encode(where, name, column, options, encoded)
    if not encoded.values:
        raise InputError(f"{where}: expected a column besides the label, got none; drop fewer")
    inputs = np.stack(encoded.values, axis=1)
    parts = {}
    at = 0
    for part, size in sizes.items():
        rows = slice(at, at + size)
        named = row_ids(part, size) if ids is None else _text(ids.slice(at, size))
        parts[part] = Part(inputs[rows], labels[rows], named)
        at += size
    return Raw(
        parts,
        classes,
        files[first].name.partition(".")[0],
        "table",
        tuple(encoded.names),
        np.array(encoded.numeric, dtype=np.bool_),
    )


def _read(path: Path, options: TableOptions) -> Any:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        if path.suffix in PARQUET_SUFFIXES:
            with reading(path, "a Parquet table"):
                return pyarrow.parquet.read_table(
                    pa.BufferReader(read_all(path, "a Parquet table"))
                )
        content = _without_comments(read_all(path, "a CSV table"), options.comment)
        tab = ".tsv" in path.suffixes
        delimiter = options.delimiter or ("\t" if tab else ",")
        head = content.split(b"\n", 1)[0].decode("utf-8", "replace").strip()
        header = next(csv.reader([head], delimiter=delimiter, skipinitialspace=True), [])
        names = options.columns or tuple(name.strip() for name in header)
        if options.columns is None and len(set(names)) != len(names):
            raise InputError(
                f"{path}: expected a first line of unique column names, got {head[:60]!r}; "
                "pass columns=[...] for a file without header"
            )
        table = pyarrow.csv.read_csv(
            io.BytesIO(content),
            read_options=pyarrow.csv.ReadOptions(
                column_names=[str(i) for i in range(len(names))],
                skip_rows=0 if options.columns else 1,
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={str(i): pa.string() for i in range(len(names))},
                strings_can_be_null=False,
            ),
        )
        return table.rename_columns(list(names))
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{path}: expected a table of one width, got {one_line(error)}; "
            "repair the row, or pass delimiter or columns"
        ) from error
    except pa.ArrowException as error:
        raise InputError(
            f"{path}: expected a table, got {one_line(error)}; save the file again"
        ) from error


def _without_comments(content: bytes, comment: str) -> bytes:
    """The content after the lines at its beginning that are blank or start with a comment sign."""
    signs = comment.encode()
    content = content.removeprefix(b"\xef\xbb\xbf")
    while content:
        line, _, rest = content.partition(b"\n")
        if line.strip() and line[:1] not in [signs[i : i + 1] for i in range(len(signs))]:
            break
        content = rest
    return content


def _check_names(options: TableOptions, names: list[str]) -> None:
    asked = {
        "label": (options.label,),
        "id_column": (options.id_column,) if options.id_column else (),
        "drop": options.drop,
        "categorical": options.categorical,
        "fill": tuple(options.fill) if isinstance(options.fill, Mapping) else (),
    }
    for argument, wanted in asked.items():
        for name in wanted:
            if name not in names:
                raise InputError(
                    f"{argument}: expected a column of the table, got {name!r}; "
                    f"{nearest(str(name), names)}"
                )
    if options.label in options.drop or options.label == options.id_column:
        raise InputError(
            f"label: expected a column of its own, got {options.label!r} that is also dropped or "
            "the id; name another"
        )


def _plain(where: str, name: str, column: Any) -> list[Any]:
    """Chunks as float64 or trimmed text, null where nothing was given."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.string())
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return list(column.cast(pa.float64(), safe=False).chunks)
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise InputError(
            f"{where}: expected numbers, text or booleans in column {name!r}, got {kind}; "
            f'convert it or pass drop=["{name}"]'
        )
    return list(pc.utf8_trim_whitespace(column.cast(pa.string())).chunks)


def _text(column: Any) -> NDArray[np.str_]:
    import pyarrow as pa
    import pyarrow.compute as pc

    filled = pc.fill_null(column.cast(pa.string()), "")
    return np.asarray(filled.to_numpy(zero_copy_only=False)).astype(np.str_)


def _as_numbers(column: Any) -> tuple[Float64Array, BoolArray] | None:
    """Values and where one is missing, or None when some value present is no number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(column.type):
        lower = pc.utf8_lower(column)
        absent = pc.fill_null(pc.is_in(lower, value_set=pa.array(_MISSING_NUMBER)), True)
        try:
            column = pc.if_else(absent, None, column).cast(pa.float64())
        except pa.ArrowInvalid:
            return None
    values = np.asarray(pc.fill_null(column, float("nan")).to_numpy(), dtype=np.float64)
    if np.isnan(values).all():
        return None
    return values, np.isnan(values)


def _labels(where: str, name: str, column: Any) -> tuple[Int64Array, tuple[str, ...]]:
    numbers = _as_numbers(column)
    if numbers is not None and not numbers[1].any():
        values = numbers[0]
        distinct = np.unique(values)
        text = [str(int(v)) if v == np.round(v) else repr(float(v)) for v in distinct]
        at = np.searchsorted(distinct, values)
    else:
        # Some files end their labels in a dot ("<=50K."); they mean the same class.
        raw = _text(column)
        missing = np.flatnonzero((raw == "") | (raw == _MISSING_LEVEL))
        if missing.size:
            raise InputError(
                f"{where}: expected a label in every row, got none in column {name!r} at row "
                f"{missing[0]}; drop such rows"
            )
        levels, at = np.unique(np.char.rstrip(raw, "."), return_inverse=True)
        text = [str(v) for v in levels]
    if len(text) < 2:
        raise InputError(
            f"{where}: expected at least two classes in column {name!r}, got only {text[0]!r}; "
            "choose another label column"
        )
    if len(text) > _MOST_CLASSES:
        raise InputError(
            f"{where}: expected at most {_MOST_CLASSES} classes in column {name!r}, got "
            f"{len(text)}; it looks continuous, bin it or choose another label column"
        )
    return at.astype(np.int64), tuple(text)


def _encode(where: str, name: str, column: Any, options: TableOptions, encoded: _Encoded) -> None:
    numbers = None if name in options.categorical else _as_numbers(column)
    if numbers is None:
        _encode_levels(where, name, column, options.max_levels, encoded)
        return
    values, absent = numbers
    if absent.any() and options.missing == "refuse":
        raise InputError(
            f"{where}: expected a number in every row of column {name!r}, got {absent.sum()} "
            f'missing, first at row {int(absent.argmax())}; pass missing="indicator" or drop it'
        )
    present = values[~absent]
    if not np.isfinite(present).all():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise InputError(
            f"{where}: expected finite numbers in column {name!r}, got infinity at row {row}; "
            "repair it"
        )
    low, high = float(present.min()), float(present.max())
    if low == high:
        if not absent.any():
            raise InputError(
                f"{where}: expected columns that vary, got only {low:g} in column {name!r}; "
                f'pass drop=["{name}"]'
            )
    elif max(abs(low), abs(high)) * 2.0**-24 > 1e-3 * float(present.std()):
        raise InputError(
            f"{where}: expected a spread that 32-bit floats can hold, column {name!r} lies in "
            f"{low:.10g}..{high:.10g}; subtract a constant from it first"
        )
    if absent.any():
        fill = options.fill.get(name, 0.0) if isinstance(options.fill, Mapping) else options.fill
        encoded.add(name, np.where(absent, fill, values), True)
        encoded.add(f"{name} missing", absent, False)
    else:
        encoded.add(name, values, True)


def _encode_levels(where: str, name: str, column: Any, most: int, encoded: _Encoded) -> None:
    text = _text(column)
    text = np.where(text == "", _MISSING_LEVEL, text)
    levels, at = np.unique(text, return_inverse=True)
    if len(levels) == 1:
        raise InputError(
            f"{where}: expected columns that vary, got only {str(levels[0])!r} in column {name!r}; "
            f'pass drop=["{name}"]'
        )
    if len(levels) > most:
        raise InputError(
            f"{where}: expected at most {most} levels in text column {name!r}, got {len(levels)}; "
            f'pass drop=["{name}"] or raise max_levels'
        )
    for k, level in enumerate(levels):
        encoded.add(f"{name}={level}", at == k, False)
