"""Tables from CSV and Parquet: numbers raw, categories one-hot, one column as the label."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import Int64Array
from seepage.data.columns import (
    MARKED,
    ColumnRules,
    Encoded,
    as_numbers,
    as_text_column,
    encode,
    plain_chunks,
    plain_number,
    refuse_row_numbers,
)
from seepage.data.reading import (
    MISSING,
    Part,
    Raw,
    check_missing,
    check_room,
    most_bytes,
    one_line,
    read_all,
    reading,
    row_ids,
)
from seepage.data.targets import target_values
from seepage.errors import InputError, nearest
from seepage.signals.tasks import task

__all__ = ["CSV_SUFFIXES", "PARQUET_SUFFIXES", "TableOptions", "read_table"]

CSV_SUFFIXES = (".csv", ".tsv", ".data", ".test", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
_MOST_CLASSES = 1000


@dataclass(frozen=True)
class TableOptions:
    """How a table is read; the arguments of `seepage.load` of the same names."""

    label: str | tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    id_column: str | None = None
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    missing: Literal["refuse", "indicator", "keep"] = "refuse"
    fill: float | Mapping[str, float] = 0.0
    max_levels: int = 256
    delimiter: str | None = None
    comment: str = "#|"
    group: str | None = None
    header: bool = True
    task: str = "classification"

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns that are asked for."""
        return (self.label,) if isinstance(self.label, str) else tuple(self.label or ())

    @property
    def rules(self) -> ColumnRules:
        """How the columns are encoded."""
        return ColumnRules(self.categorical, self.missing, self.fill, self.max_levels)


def read_table(files: Mapping[str, Path], options: TableOptions) -> Raw:
    """Tables of all parts, encoded together so that they agree on columns and classes.

    A column is numeric when every value present is a number; its raw values are kept. Any other
    column is categorical: one column of 0 and 1 per level that occurs in any of the files, named
    "column=level", missing values being a level "?" of their own. Only which levels exist is
    shared between rows; no statistic is.

    A column that could be read either way is refused until `categorical` names it: numbers with
    marks (1,5 or 1,000 or 5%), and numbers with a few values among them that are none. Labels are
    compared exactly, as whole numbers of any size or as text; a label that says it is missing, or
    that is a number with a fraction, is a class only where `categorical` names the label column.
    """
    import pyarrow as pa

    if not options.labels:
        raise InputError(
            f"label: expected the name of the label column of {next(iter(files.values()))}, "
            'got none; pass label="..."'
        )
    check_missing(options.missing, ("refuse", "indicator", "keep"))
    tables = {part: read_columns(path, options) for part, path in files.items()}
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
    by_class = task(options.task).classes
    if by_class and len(options.labels) > 1:
        raise InputError(
            f"label: expected one column with task = {options.task!r}, got {len(options.labels)}; "
            "set task = 'multi-label' or 'soft-labels'"
        )
    rules = options.rules
    exact = (*(options.labels if by_class else ()), options.id_column, options.group)
    columns = {
        name: [
            plain_chunks(where, name, t.column(name), rules, name in exact) for t in tables.values()
        ]
        for name in names
        if name not in options.drop
    }
    asked = [columns.pop(name) for name in options.labels]
    whole = {
        name: pa.chunked_array([chunk for part in parts for chunk in part])
        for name, parts in columns.items()
    }
    ids = whole.pop(options.id_column) if options.id_column is not None else None
    groups = (
        None
        if options.group is None
        else _groups(where, options.group, as_text_column(whole.pop(options.group)))
    )
    targets: NDArray[np.float32] | None = None
    if by_class:
        texts = [as_text_column(pa.chunked_array(c, pa.string())) for c in asked[0]]
        labels, classes = _labels(where, options, texts)
    else:
        joined = [pa.chunked_array([chunk for part in parts for chunk in part]) for parts in asked]
        labels, classes, targets = _targets(where, options, joined)
    encoded = Encoded()
    for name, column in whole.items():
        encode(where, name, column, rules, encoded)
    if not encoded.values:
        raise InputError(f"{where}: expected a column besides the label, got none; drop fewer")
    inputs = np.stack(encoded.values, axis=1)
    parts = {}
    at = 0
    for part, size in sizes.items():
        rows = slice(at, at + size)
        named = row_ids(part, size) if ids is None else as_text_column(ids.slice(at, size))
        whose = None if groups is None else groups[rows]
        held = None if targets is None else targets[rows]
        parts[part] = Part(inputs[rows], labels[rows], named, whose, held)
        at += size
    return Raw(
        parts,
        classes,
        files[first].name.partition(".")[0],
        "table",
        tuple(encoded.names),
        np.array(encoded.numeric, dtype=np.bool_),
        options.task,
    )


def _targets(
    where: str, options: TableOptions, columns: list[Any]
) -> tuple[Int64Array, tuple[str, ...], NDArray[np.float32]]:
    """Labels, names and targets of a task whose targets are numbers, one column each."""
    values = []
    for name, column in zip(options.labels, columns, strict=True):
        numbers = as_numbers(column)
        absent = None if numbers is None else numbers[1]
        if numbers is None or (absent is not None and absent.any()):
            row = "" if absent is None else f", first at row {int(absent.argmax())}"
            got = "text" if absent is None else f"{int(absent.sum())} missing"
            raise InputError(
                f"{where}: expected a number in every row of column {name!r} with task = "
                f"{options.task!r}, got {got}{row}; repair or drop such rows"
            )
        values.append(numbers[0])
    found = target_values(where, {"": np.stack(values, axis=1)}, options.task, options.labels)
    return found.labels[""], found.classes, found.targets[""]


def _groups(where: str, name: str, texts: NDArray[np.str_]) -> NDArray[np.str_]:
    """Whose row each is, compared exactly; a row of nobody is refused."""
    missing = np.flatnonzero(np.isin(np.char.lower(texts), MISSING))
    if missing.size:
        raise InputError(
            f"{where}: expected a subject in every row, got {str(texts[missing[0]]) or 'none'!r} in "
            f"column {name!r} at row {missing[0]}; give rows without a subject a name of their own"
        )
    return texts


def read_columns(path: Path, options: TableOptions) -> Any:
    """A table of pyarrow from a file: columns of text, or of Parquet as they are."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        plain = path.with_suffix("") if path.suffix == ".gz" else path
        if plain.suffix.lower() in PARQUET_SUFFIXES:
            if not options.header:
                raise InputError(
                    f"header: expected for text tables alone, {path} holds its column names; leave "
                    "it out"
                )
            with reading(path, "a Parquet table"):
                content = pa.BufferReader(read_all(path, "a Parquet table"))
                # A run of equal values takes a few bytes, however long it is.
                told = pyarrow.parquet.ParquetFile(content).metadata
                size = 8 * told.num_rows * told.num_columns
                check_room(path, "a Parquet table", size, most_bytes())
                content.seek(0)
                table = pyarrow.parquet.read_table(content)
            found = table.column_names
            if len(set(found)) != len(found):
                twice = next(name for name in found if found.count(name) > 1)
                raise InputError(
                    f"{path}: expected every column name once, got {twice!r} twice; rename one"
                )
            return table
        text = _without_comments(
            _checked_text(path, read_all(path, "a CSV table")), options.comment
        )
        tab = ".tsv" in path.suffixes
        delimiter = options.delimiter if options.delimiter is not None else "\t" if tab else ","
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '\n\r\0"':
            raise InputError(
                f"delimiter: expected one ASCII character, got {delimiter!r}; pass such as ';'"
            )
        head = text.split(b"\n", 1)[0].decode("utf-8", "replace").strip()
        try:
            header = next(csv.reader([head], delimiter=delimiter, skipinitialspace=True), [])
        except (csv.Error, TypeError) as error:
            raise InputError(
                f"{path}: expected a first line of column names with one delimiter between them, "
                f"got {one_line(error)} in {head[:60]!r}; repair the line or pass delimiter"
            ) from None
        numbered = options.columns is None and not options.header
        names = options.columns or tuple(
            str(k) if numbered else name.strip() for k, name in enumerate(header)
        )
        if options.columns is not None and len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"columns: expected every name once, got {twice!r} twice; rename one")
        if len(set(names)) != len(names):
            raise InputError(
                f"{path}: expected a first line of unique column names, got {head[:60]!r}; "
                "pass header=False or columns=[...] for a file without header"
            )
        table = pyarrow.csv.read_csv(
            io.BytesIO(text),
            read_options=pyarrow.csv.ReadOptions(
                column_names=[str(i) for i in range(len(names))],
                skip_rows=0 if options.columns or numbered else 1,
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


def _checked_text(path: Path, content: bytes) -> bytes:
    """The content, refused where its lines or letters would be read as something else."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{path}: expected UTF-8 text, got UTF-16; save it as UTF-8")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected UTF-8 text, got byte {content[error.start]:#04x} at position "
            f"{error.start}; save it as UTF-8"
        ) from None
    if b"\0" in content:
        raise InputError(
            f"{path}: expected text, got a zero byte at position {content.index(0)}; "
            "save the table as CSV"
        )
    if b"\r" in content and b"\n" not in content:
        raise InputError(
            f"{path}: expected lines that end in a line feed, got carriage returns alone; save it "
            "with Unix or Windows line ends"
        )
    return content


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
        "label": options.labels,
        "id_column": (options.id_column,) if options.id_column is not None else (),
        "group": (options.group,) if options.group is not None else (),
        "drop": options.drop,
        "categorical": options.categorical,
        "fill": tuple(options.fill) if isinstance(options.fill, Mapping) else (),
    }
    for argument, wanted in asked.items():
        for name in wanted:
            if name not in names:
                raise InputError(
                    f"{argument}: expected a column of the table, got {name!r}; "
                    + _remedy(str(name), names)
                )
    if options.id_column is not None and options.id_column in options.drop:
        raise InputError(
            f"id_column: expected a column that is kept, got {options.id_column!r} that is also "
            "dropped; leave it out of drop, it is not trained on"
        )
    for name in names:
        if name not in (*options.drop, options.id_column):
            refuse_row_numbers(name, options.rules)
    if options.group is not None and options.group in (
        *options.drop,
        options.id_column,
        *options.labels,
    ):
        raise InputError(
            f"group: expected a column of its own, got {options.group!r} that is also dropped, the "
            "id or the label; leave it to group alone, it is not trained on"
        )
    for label in options.labels:
        if (
            label not in options.drop
            and label != options.id_column
            and options.labels.count(label) == 1
        ):
            continue
        raise InputError(
            f"label: expected a column of its own, got {label!r} that is also dropped or "
            "the id; name another"
        )


def _remedy(name: str, names: list[str]) -> str:
    """What to do where a table has no column of that name."""
    if len(names) == 1:
        sign = next((s for s in ";\t|" if s in names[0]), ";")
        return f"it has one column: pass delimiter={json.dumps(sign)} if that separates columns"
    if all(plain_number(text) is not None for text in names) and names != [
        str(k) for k in range(len(names))
    ]:
        return "its first line holds numbers: pass header=False, or columns=[...] with names"
    return nearest(name, names)


def _labels(
    where: str, options: TableOptions, files: list[NDArray[np.str_]]
) -> tuple[Int64Array, tuple[str, ...]]:
    """Classes in order and the class of every row, from the labels of all files as text."""
    name = options.labels[0]
    # Some files end every label in a dot ("<=50K."); where all do, it is no part of the class.
    raw = np.concatenate([np.char.rstrip(t, ".") if _all_dotted(t) else t for t in files])
    levels, at = np.unique(raw, return_inverse=True)
    texts = [str(v) for v in levels]
    as_given = name in options.categorical
    for k, text in enumerate(texts):
        if text == "" or (not as_given and text.lower() in MISSING):
            remedy = "" if text == "" else f', or pass categorical=["{name}"] if it is a class'
            raise InputError(
                f"{where}: expected a label in every row, got {repr(text) if text else 'none'} in "
                f"column {name!r} at row {int((at == k).argmax())}; drop such rows{remedy}"
            )
    if not as_given:
        texts, at = _numbers_as_classes(where, name, texts, at)
    if len(texts) < 2:
        raise InputError(
            f"{where}: expected at least two classes in column {name!r}, got only {texts[0]!r}; "
            "choose another label column"
        )
    if len(texts) > _MOST_CLASSES:
        raise InputError(
            f"{where}: expected at most {_MOST_CLASSES} classes in column {name!r}, got "
            f"{len(texts)}; it looks continuous: pass task='regression', or choose another label column"
        )
    return at.astype(np.int64), tuple(texts)


def _all_dotted(labels: NDArray[np.str_]) -> bool:
    """Whether every label ends in one dot and is no number such as "1."."""
    one = np.char.endswith(labels, ".") & ~np.char.endswith(labels, "..")
    return bool(one.all())


def _numbers_as_classes(
    where: str, name: str, texts: list[str], at: Int64Array
) -> tuple[list[str], Int64Array]:
    """Classes that are all whole numbers, in the order of the numbers: 1 and 1.0 are one class."""
    values = [plain_number(t) for t in texts]
    numbers = [v for v in values if v is not None]
    for k, text in enumerate(texts):
        row = int((at == k).argmax())
        if values[k] is None and MARKED.fullmatch(text):
            raise InputError(
                f"{where}: expected labels as whole numbers or names in column {name!r}, got "
                f"{text!r} at row {row}; write it as a plain number, or pass "
                f'categorical=["{name}"] if it is a class'
            )
    if len(numbers) < len(values):
        return texts, at
    for k, (text, v) in enumerate(zip(texts, numbers, strict=True)):
        if not isinstance(v, Fraction) or v.denominator != 1:
            raise InputError(
                f"{where}: expected labels as whole numbers or names in column {name!r}, got "
                f'{text!r} at row {int((at == k).argmax())}; pass task="regression" for a '
                f'real-valued target, or categorical=["{name}"] if these are classes'
            )
    distinct = sorted(set(numbers))
    place = {v: k for k, v in enumerate(distinct)}
    return [str(v) for v in distinct], np.array([place[v] for v in numbers], dtype=np.int64)[at]
