"""Scores in a table, a row per model, sample and checkpoint: as arrays (R, T, N)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from seepage.array_types import AnyArray, Int64Array
from seepage.data.reading import MISSING, check_regular, one_line, reading
from seepage.errors import InputError, nearest

__all__ = ["TABLES", "read_score_table"]

TABLES = (".csv", ".tsv", ".parquet", ".pq")
_KEYS = ("model", "sample", "member")
_OPTIONAL = ("checkpoint", "label", "group")
_EXPECTED = (
    "a table of scores with the columns model, sample, member, optionally checkpoint, label and "
    "group, and a column per signal, a row per model, sample and checkpoint"
)
_TRUTH = {"0": False, "1": True, "false": False, "true": True}


@dataclass
class _Names:
    """Values of a column in the order in which they come first, numbered."""

    at: dict[str, int] = field(default_factory=dict)

    def numbered(self, column: Any, where: str) -> Int64Array:
        """The number of each value; InputError for a missing one."""
        encoded = column.dictionary_encode()
        if encoded.null_count:
            raise InputError(
                f"{where}: expected a value in every row, got a missing one; fill it in"
            )
        values = [str(v) for v in encoded.dictionary.to_pylist()]
        empty = next((v for v in values if v.strip().lower() in MISSING), None)
        if empty is not None:
            raise InputError(
                f"{where}: expected a value in every row, got {empty!r}; fill it in or rename it"
            )
        numbers = np.array([self.at.setdefault(v, len(self.at)) for v in values], dtype=np.int64)
        found: Int64Array = numbers[encoded.indices.to_numpy(zero_copy_only=False)]
        return found


def read_score_table(path: Path) -> dict[str, AnyArray]:
    """Arrays by name, as `import_arrays` takes them: member (R, N), signals (R, T, N), ids, ...

    The table is read twice, a batch at a time: first which models, samples and checkpoints there
    are, then the signals, which are held in memory as 32-bit floats (64-bit where those would not
    do). Models and samples are numbered in the order in which they come first.

    Raises InputError, in one line that names the column, for another table: columns that are
    missing, signals that are no numbers, a model, sample and checkpoint twice or not at all,
    membership or a label that changes between rows of one sample.
    """
    try:
        return _read(path)
    except (InputError, OSError):
        raise
    except MemoryError:
        raise InputError(
            f"{path}: expected a table that fits into memory, got a larger one; save the arrays as "
            ".npy files instead"
        ) from None
    except Exception as error:  # whatever Arrow says of a damaged file
        told = re.search(r"CSV column #(\d+): (?:Row #\d+: )?.*invalid value (.*)", str(error))
        if told is not None:
            name = _columns(path)[int(told.group(1))]
            raise InputError(
                f"{path}: {name}: expected a number in every row, got {one_line(ValueError(told.group(2)), 60)}; "
                "correct it, or leave the column out"
            ) from None
        raise InputError(
            f"{path}: expected {_EXPECTED}, got a corrupt file or other content "
            f"({one_line(error)}); write it again"
        ) from None


def _read(path: Path) -> dict[str, AnyArray]:
    with reading(path, _EXPECTED):
        check_regular(path, _EXPECTED)
        if path.is_dir():
            raise IsADirectoryError
        columns = _columns(path)
        keys = [k for k in (*_KEYS, *_OPTIONAL) if k in columns]
        signals = [c for c in columns if c not in keys]
        if len(set(columns)) < len(columns):
            twice = next(c for c in columns if columns.count(c) > 1)
            raise InputError(f"{path}: expected every column once, got {twice!r} twice; rename one")
        missing = [k for k in _KEYS if k not in columns]
        if missing or not signals:
            lacks = missing[0] if missing else "a signal such as phi"
            remedy = nearest(missing[0], columns) if missing and columns else "add it"
            raise InputError(f"{path}: expected {_EXPECTED}, got none for {lacks}; {remedy}")
        names = {k: _Names() for k in ("model", "sample", "label", "group")}
        epochs: dict[float, int] = {}
        rows = 0
        for batch in _batches(path, keys):
            rows += batch.num_rows
            for key in ("model", "sample"):
                names[key].numbered(batch[key], f"{path}: {key}")
            for value in _epochs(path, batch):
                epochs.setdefault(value, len(epochs))
        size = (len(names["model"].at), max(1, len(epochs)), len(names["sample"].at))
        if not rows:
            raise InputError(f"{path}: expected {_EXPECTED}, got no rows; write them")
        if rows != size[0] * size[1] * size[2]:
            raise InputError(
                f"{path}: expected a row for each of {size[0]} models, {size[2]} samples and "
                f"{size[1]} checkpoints, {size[0] * size[1] * size[2]} in all, got {rows}; add the "
                "missing ones, or remove those that are there twice"
            )
        return _filled(path, names, epochs, size, signals, keys)


def _filled(
    path: Path,
    names: dict[str, _Names],
    epochs: dict[float, int],
    size: tuple[int, int, int],
    signals: list[str],
    keys: list[str],
) -> dict[str, AnyArray]:
    r, t, n = size
    free = psutil.virtual_memory().available
    if 4 * r * t * n * (len(signals) + 1) > free:
        raise InputError(
            f"{path}: expected signals that fit into {free} bytes of free memory, got {len(signals)} "
            f"of {r * t * n} values; save the arrays as .npy files instead"
        )
    times = sorted(epochs)
    place = np.argsort(np.argsort(list(epochs))) if epochs else np.zeros(1, np.int64)
    seen = np.zeros(size, np.bool_)
    member = np.full((r, n), -1, np.int8)
    whose = {k: np.full(n, -1, np.int64) for k in ("label", "group") if k in keys}
    found: dict[str, AnyArray] = {}
    for batch in _batches(path, [*keys, *signals]):
        if not batch.num_rows:
            continue
        i = names["model"].numbered(batch["model"], f"{path}: model")
        k = names["sample"].numbered(batch["sample"], f"{path}: sample")
        at = [epochs[e] for e in _epochs(path, batch)] if epochs else [0] * batch.num_rows
        j = place[np.array(at, dtype=np.int64)]
        if seen[i, j, k].any() or len(np.unique(np.ravel_multi_index((i, j, k), size))) < len(i):
            raise InputError(
                f"{path}: expected every model, sample and checkpoint once, got one twice; remove it"
            )
        seen[i, j, k] = True
        _constant(path, "member", member, (i, k), _membership(path, batch["member"]))
        for name, values in whose.items():
            numbers = names[name].numbered(batch[name], f"{path}: {name}")
            _constant(path, name, values, (k,), numbers)
        for signal in signals:
            values = _numbers(path, signal, batch[signal])
            if signal not in found:
                wide = values.dtype.kind in "iu" or values.dtype == np.float64
                found[signal] = np.zeros(size, np.float64 if wide else values.dtype)
            found[signal][i, j, k] = values
    arrays: dict[str, AnyArray] = {"member": member.astype(np.bool_), **found}
    arrays["ids"] = np.array(list(names["sample"].at), dtype=np.str_)
    if epochs:
        arrays["checkpoints"] = np.array(times)
    if "group" in whose:
        arrays["groups"] = np.array(list(names["group"].at), dtype=np.str_)[whose["group"]]
    if "label" in whose:
        arrays["labels"] = _labels(np.array(list(names["label"].at), dtype=np.str_))[whose["label"]]
    return arrays


def _labels(values: AnyArray) -> AnyArray:
    """Labels as whole numbers where all are, as names otherwise."""
    whole = all(re.fullmatch(r"0|[1-9]\d{0,8}", v) for v in values.tolist())
    return values.astype(np.int64) if whole else values


def _constant(path: Path, name: str, held: AnyArray, at: tuple[Any, ...], values: AnyArray) -> None:
    """Write values where none are, and refuse others where there are some."""
    before = held[at]
    held[at] = np.where(before < 0, values, before)
    if not np.array_equal(held[at], values):
        of = "model and sample" if name == "member" else "sample"
        raise InputError(
            f"{path}: {name}: expected the same in all rows of one {of}, got two; correct it"
        )


def _membership(path: Path, column: Any) -> AnyArray:
    texts = column.dictionary_encode()
    told = [str(v).strip().lower().removesuffix(".0") for v in texts.dictionary.to_pylist()]
    bad = next((v for v in told if v not in _TRUTH), None)
    if bad is not None or texts.null_count:
        raise InputError(
            f"{path}: member: expected 0 or 1 in every row, got {bad or 'a missing one'!r}; correct it"
        )
    truth = np.array([_TRUTH[v] for v in told], dtype=np.int8)
    found: AnyArray = truth[texts.indices.to_numpy(zero_copy_only=False)]
    return found


def _epochs(path: Path, batch: Any) -> list[float]:
    if "checkpoint" not in batch.column_names:
        return []
    return [float(v) for v in _numbers(path, "checkpoint", batch["checkpoint"]).tolist()]


def _numbers(path: Path, name: str, column: Any) -> AnyArray:
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise InputError(
            f"{path}: {name}: expected numbers, got {kind}; convert or drop the column"
        )
    if column.null_count:
        raise InputError(
            f"{path}: {name}: expected a number in every row, got a missing one; fill it in, or "
            "leave the column out"
        )
    values: AnyArray = np.asarray(column.to_numpy(zero_copy_only=False))
    if values.dtype.kind in "iu" and (np.abs(values.astype(np.float64)) > 2**24).any():
        raise InputError(
            f"{path}: {name}: expected whole numbers that 32-bit floats hold, up to {2**24}, got larger "
            "ones; scale them first"
        )
    return values


def _columns(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    if path.suffix.lower() in (".parquet", ".pq"):
        return [str(c) for c in pq.read_schema(path).names]
    with path.open("rb") as stream:
        head = stream.read(2**16).splitlines()[:1]
    text = (head[0] if head else b"").decode("utf-8-sig")
    return [c.strip().strip('"') for c in text.split(_separator(path))] if text else []


def _separator(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _batches(path: Path, columns: list[str]) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    if path.suffix.lower() in (".parquet", ".pq"):
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=2**18, columns=columns)
        return
    # Names are text, whatever they look like: "01" is not "1".
    text = {k: pa.string() for k in ("model", "sample", "member", "label", "group")}
    numbers = {c: pa.float64() for c in columns if c not in text}
    with csv.open_csv(
        path,
        read_options=csv.ReadOptions(block_size=2**23),
        parse_options=csv.ParseOptions(delimiter=_separator(path)),
        convert_options=csv.ConvertOptions(
            column_types=text | numbers, include_columns=columns, strings_can_be_null=True
        ),
    ) as reader:
        yield from reader
