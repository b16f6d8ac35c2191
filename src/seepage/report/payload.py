"""Per-sample data inside the page: typed arrays, compressed, in blocks that no parser can enter.

Each array is gzip in base64, so nothing that came from data can end a script element or open a
tag; the page unpacks it with the browser's own DecompressionStream after the first paint.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import AnyArray, Float64Array
from seepage.data import Dataset
from seepage.findings import Findings, plain
from seepage.report.pictures import pixels

__all__ = ["Block", "blocks"]

PICTURES_AT_MOST = 3_000_000


@dataclass(frozen=True)
class Block:
    """One array of the page: `dtype` as JavaScript names it, or "json"."""

    name: str
    dtype: str
    shape: str
    body: str


def _pack(raw: bytes) -> str:
    # A fixed time stamp: the same findings give the same bytes.
    return base64.b64encode(gzip.compress(raw, compresslevel=6, mtime=0)).decode("ascii")


def _array(name: str, values: AnyArray) -> Block:
    if values.dtype.kind in "iu" and values.size and int(values.min()) >= 0:
        top = int(values.max())
        small = np.uint8 if top < 256 else np.uint16 if top < 65536 else np.uint32
        values = values.astype(small)
    little = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"))
    shape = ",".join(str(s) for s in values.shape)
    return Block(name, values.dtype.name, shape, _pack(little.tobytes()))


def _json(name: str, value: Any) -> Block:
    return Block(name, "json", "", _pack(json.dumps(plain(value)).encode()))


def _share(values: Float64Array) -> NDArray[np.uint8]:
    """[0, 1] in steps of 1/250; 255 where there is no value."""
    return np.where(np.isfinite(values), np.rint(np.nan_to_num(values) * 250), 255).astype(np.uint8)


def _short(values: Float64Array) -> NDArray[np.float32]:
    """float32 rounded to 11 significant bits: enough for three digits, and it compresses."""
    mantissa, power = np.frexp(np.nan_to_num(values.astype(np.float64), posinf=3e38, neginf=-3e38))
    rounded = np.clip(np.ldexp(np.rint(mantissa * 2048) / 2048, power), -3.3e38, 3.3e38)
    return np.where(np.isnan(values), np.nan, rounded).astype(np.float32)


def _intervals(findings: Findings) -> dict[str, list[list[float]]]:
    return {
        str(n): np.stack(limits, axis=1).round(3).tolist()
        for n, limits in findings.paths.interval_table().items()
    }


def blocks(findings: Findings, data: Dataset | None) -> list[Block]:
    """All arrays that the page's script reads."""
    f, p, e = findings, findings.paths, findings.exposure
    rank = np.empty(f.samples, dtype=np.int64)
    rank[e.order] = np.arange(f.samples)
    meta: dict[str, Any] = {
        "samples": f.samples,
        "models": f.models,
        "checkpoints": f.checkpoints,
        "classes": f.classes,
        "ids": f.ids,
        "main": f.main_attack.title,
        "attacks": [a.title for a in f.attacks],
        "level": e.level,
        "intervals": _intervals(f),
        "high": e.high_count,
        "nullHigh": np.rint(e.null_high_count).astype(np.int64),
        "kind": None if data is None else data.kind,
        "columns": [] if data is None else list(data.columns),
    }
    out = [
        _array("tp", p.tp),
        _array("fp", p.fp),
        _array("nullTp", p.null_tp),
        _array("nullFp", p.null_fp),
        _array("nIn", p.n_in),
        _array("nOut", p.n_out),
        _array("labels", f.labels),
        _array("rank", rank),
        _array("exposed", e.exposed.astype(np.uint8)),
        _array("since", e.since + 1),
        _array("q", _short(e.q)),
        _array("accOut", _share(f.accuracy_out)),
        _array("scoreIn", _short(f.score_in)),
        _array("scoreOut", _short(f.score_out)),
        _array("separation", _share(np.stack([a.separation for a in f.attacks]))),
    ]
    if data is not None and data.kind == "image":
        one = pixels(data, e.order[:1]).size
        fit = max(1, min(f.samples, PICTURES_AT_MOST // one))
        out.append(_array("pictures", pixels(data, e.order[:fit])))
    elif data is not None:
        rows = data.inputs.numpy()
        fit = max(1, min(f.samples, PICTURES_AT_MOST // (4 * max(rows.shape[1], 1))))
        out.append(_array("rows", _short(rows[e.order[:fit]])))
    out.append(_json("meta", meta))
    return out
