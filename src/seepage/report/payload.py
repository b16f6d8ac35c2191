"""Per-sample data inside the page: typed arrays, compressed, in blocks that no parser can enter.

Each array is gzip in base64, so nothing that came from data can end a script element or open a
tag; the page unpacks it with the browser's own DecompressionStream after the first paint.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seepage.array_types import AnyArray, Float64Array, Int64Array
from seepage.data.documents import text_of
from seepage.findings import Findings, plain

if TYPE_CHECKING:
    from seepage.data import Dataset

__all__ = ["ASKED", "Block", "Exhibit", "asked_of", "blocks", "exhibits", "pixels", "texts_of"]

ASKED = {
    "multi-label": "labels",
    "regression": "target",
    "soft-labels": "likeliest class",
    "language": "kind",
}
"""What a sample is asked for, by task, where that is not its class."""


@dataclass(frozen=True)
class Exhibit:
    """What the report shows of one sample: a PNG as data URI, or its most telling cells."""

    picture: str | None
    cells: tuple[tuple[str, str], ...] = ()


def pixels(data: Dataset, rows: Int64Array) -> NDArray[np.uint8]:
    """Images at `rows`: (n, H, W) grey or (n, H, W, 3) colour, uint8.

    Floats, and integers that use less than half of 0..255 anywhere in the pool, are stretched to
    the pool's range. One channel is grey; two, or more than three, are shown by their first one.
    """
    low, high = data.extremes
    x = data.rows(rows).numpy()
    if x.dtype != np.uint8 or high < 128:
        low = 0.0 if low >= 0 else low
        x = np.rint((x.astype(np.float32) - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1) if x.shape[1] == 3 else x[:, 0])


def _png_uri(picture: NDArray[np.uint8]) -> str:
    """A uint8 image (H, W) or (H, W, 3) as a PNG data URI."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def exhibits(data: Dataset, rows: Int64Array, *, cells: int = 8) -> list[Exhibit]:
    """Pictures of samples, or the `cells` columns in which each lies farthest from the pool.

    A one-hot column counts only where it is on. Distance is in standard deviations of the pool.
    """
    if data.kind == "image":
        return [Exhibit(_png_uri(p)) for p in pixels(data, rows)]
    if data.task == "language":
        return [Exhibit(None, (("text", text),)) for text in texts_of(data, rows)]
    names = data.columns or tuple(f"column {k}" for k in range(data.shape[0]))
    if data.has_missing:
        # Of missing values nothing is far, and the last thing that is shown.
        known = data.inputs.numpy().astype(np.float64)
        mean, spread = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
    else:
        mean, spread = data.moments(np.arange(len(data)))
    shown = []
    for x in data.rows(rows).numpy().astype(np.float64):
        far = np.abs(x - mean) / np.where(spread > 0, spread, np.inf)
        if data.numeric is not None:
            far = np.where(~data.numeric & (x == 0), -1.0, far)
        chosen = np.sort(np.argsort(-far, kind="stable")[:cells])
        shown.append(Exhibit(None, tuple((names[k], f"{x[k]:.4g}") for k in chosen)))
    return shown


def texts_of(data: Dataset, rows: Int64Array) -> list[str]:
    """Texts of documents; of another vocabulary than bytes the names of its pieces."""
    found = []
    for row in data.rows(rows).numpy():
        raw = text_of(row, data.classes)
        pieces = [data.classes[int(k)] for k in row[row >= 0]] if raw is None else []
        found.append(" ".join(pieces) if raw is None else raw.decode("utf-8", "replace"))
    return found


def asked_of(f: Findings, data: Dataset | None, rows: Int64Array) -> list[str]:
    """What a model is asked for of each sample: its class, its labels, or its target's value.

    Labels and values are content of the records, and empty where data is withheld.
    """
    if f.task not in ("multi-label", "regression"):
        return [f.classes[k] for k in f.labels[rows].tolist()]
    if data is None or data.targets is None:
        return [""] * len(rows)
    chosen = data.targets.numpy()[rows]
    if f.task == "regression":
        return [f"{data.classes[0]} {v:.4g}" for v in chosen.tolist()]
    return [
        ", ".join(name for name, on in zip(data.classes, row, strict=True) if on) or "none of them"
        for row in chosen.tolist()
    ]


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


def blocks(findings: Findings, data: Dataset | None) -> list[Block]:
    """All arrays that the page's script reads."""
    f, p, e = findings, findings.paths, findings.exposure
    rank = np.empty(f.samples, dtype=np.int64)
    rank[e.order] = np.arange(f.samples)
    meta: dict[str, Any] = {
        "samples": f.samples,
        "unit": f.unit,
        "models": f.models,
        "checkpoints": f.checkpoints,
        "clock": f.clock.unit,
        "classes": f.classes,
        "asked": asked_of(f, data, np.arange(f.samples))
        if f.task in ("multi-label", "regression")
        else None,
        "ids": f.ids,
        "main": f.main_attack.title,
        "right": "say all its labels right"
        if f.utility is not None and f.utility.measure == "label-vectors"
        else "classify it correctly",
        "level": e.level,
        "high": e.high_count,
        "nullHigh": np.rint(e.null_high_count).astype(np.int64),
        "kind": None if data is None else data.kind,
        "columns": [] if data is None else list(data.columns),
        "limit": None
        if f.accountant is None or not f.accountant.fpr.size
        else {"fpr": f.accountant.fpr.round(6), "tpr": f.accountant.tpr.round(6)},
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
        _array("auc", _share(np.stack([e.auc, e.auc_low, e.auc_high]))),
    ]
    if f.subjects is not None:
        out.append(_array("records", f.subjects.sizes))
    if data is not None and data.kind == "image":
        one = pixels(data, e.order[:1]).size
        fit = max(1, min(f.samples, PICTURES_AT_MOST // one))
        out.append(_array("pictures", pixels(data, e.order[:fit])))
    elif data is not None and data.task == "language":
        fit = max(1, min(f.samples, PICTURES_AT_MOST // data.shape[0]))
        out.append(_json("texts", texts_of(data, e.order[:fit])))
    elif data is not None:
        fit = max(1, min(f.samples, PICTURES_AT_MOST // (4 * max(data.shape[0], 1))))
        out.append(_array("rows", _short(data.rows(e.order[:fit]).numpy())))
    out.append(_json("meta", meta))
    return out
