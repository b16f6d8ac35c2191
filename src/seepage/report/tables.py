"""The report's numbers as files: Parquet per sample and per path, JSON for the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seepage.array_types import AnyArray
from seepage.findings import Findings
from seepage.store.files import replacing

__all__ = ["beside", "paths_table", "samples_table", "write_tables"]


def beside(path: Path) -> tuple[Path, Path, Path]:
    """Where the tables of a report at `path` lie: JSON, samples, paths.

    >>> [p.name for p in beside(Path("out/report.html"))]
    ['report.json', 'report.samples.parquet', 'report.paths.parquet']
    """
    stem = path.with_suffix("")
    names = (".json", ".samples.parquet", ".paths.parquet")
    json_at, samples, paths = (stem.with_name(stem.name + n) for n in names)
    return json_at, samples, paths


def _column(values: AnyArray) -> pa.Array:
    """What `pa.array` makes of numbers or booleans (N,), which itself imports pandas where that is installed."""
    held = np.ascontiguousarray(values)
    raw = np.packbits(held, bitorder="little") if held.dtype == np.bool_ else held
    kind = pa.from_numpy_dtype(held.dtype)
    return pa.Array.from_buffers(kind, len(held), [None, pa.py_buffer(raw)], 0)


def _text(values: Sequence[str]) -> pa.Array:
    """`pa.array(values, pa.string())`."""
    parts = [v.encode() for v in values]
    ends = np.cumsum([0, *map(len, parts)])
    if ends[-1] >= 2**31:
        return pa.array(values, pa.string())
    offsets = pa.py_buffer(ends.astype(np.int32))
    return pa.Array.from_buffers(
        pa.string(), len(parts), [None, offsets, pa.py_buffer(b"".join(parts))], 0
    )


def _repeated(values: Sequence[str], times: int = 1) -> pa.DictionaryArray:
    """The text `times` over, each different one kept once, in the order of first occurrence."""
    number: dict[str, int] = {}
    codes = np.array([number.setdefault(v, len(number)) for v in values], np.int32)
    return pa.DictionaryArray.from_arrays(_column(np.tile(codes, times)), _text(list(number)))


def _table(columns: dict[str, AnyArray | pa.Array]) -> pa.Table:
    arrays = [v if isinstance(v, pa.Array) else _column(v) for v in columns.values()]
    return pa.Table.from_arrays(arrays, list(columns))


def samples_table(f: Findings) -> pa.Table:
    """One row per sample at the last checkpoint: counts, rates, evidence, and the effect.

    auc: of the sample's own signal across models, with its 95 % interval. Where records belong to
    subjects a row is a subject, and `records` the number of its records.
    """
    p, e = f.paths, f.exposure
    fpr, tpr = p.rates()
    rank = np.empty(f.samples, dtype=np.int64)
    rank[e.order] = np.arange(1, f.samples + 1)
    columns: dict[str, AnyArray | pa.Array] = {
        "row": np.arange(f.samples),
        "id": _text(f.ids.tolist()),
        "label": f.labels,
        "class": _repeated([f.classes[k] for k in f.labels.tolist()]),
        "n_in": p.n_in,
        "n_out": p.n_out,
        "tp": p.tp[-1],
        "fp": p.fp[-1],
        "tpr": tpr[-1],
        "fpr": fpr[-1],
        "advantage": tpr[-1] - fpr[-1],
        "p": e.p,
        "q": e.q,
        "exposed": e.exposed,
        "rank": rank,
        "exposed_since": np.where(e.since >= 0, f.checkpoints[e.since], np.nan),
        "accuracy_in": f.accuracy_in,
        "accuracy_out": f.accuracy_out,
        "score_in": f.score_in,
        "score_out": f.score_out,
        "auc": e.auc,
        "auc_low": e.auc_low,
        "auc_high": e.auc_high,
    }
    if f.subjects is not None:
        columns["records"] = f.subjects.sizes
    return _table(columns)


def paths_table(f: Findings) -> pa.Table:
    """One row per checkpoint and sample: epoch, row, counts, and counts under permutation."""
    p = f.paths
    times = len(f.checkpoints)
    return _table(
        {
            "checkpoint": np.repeat(f.checkpoints, f.samples),
            "row": np.tile(np.arange(f.samples, dtype=np.int32), times),
            "id": _repeated(f.ids.tolist(), times),
            "tp": p.tp.ravel(),
            "fp": p.fp.ravel(),
            "n_in": np.tile(p.n_in, times),
            "n_out": np.tile(p.n_out, times),
            "null_tp": p.null_tp.ravel(),
            "null_fp": p.null_fp.ravel(),
        }
    )


def write_tables(f: Findings, path: Path) -> tuple[Path, Path, Path]:
    """Write the three files next to `path`, each whole or not at all."""
    targets = beside(path)
    writers: tuple[Callable[[Path], object], ...] = (
        lambda p: p.write_text(json.dumps(f.summary(), indent=1, allow_nan=False) + "\n"),
        lambda p: pq.write_table(samples_table(f), p, compression="zstd"),
        lambda p: pq.write_table(paths_table(f), p, compression="zstd"),
    )
    for target, write in zip(targets, writers, strict=True):
        with replacing(target) as draft:
            write(draft)
    return targets
