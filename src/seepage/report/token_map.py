"""The most exposed documents with every token shaded by its share of the evidence, over training."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from seepage.array_types import AnyArray
from seepage.data.documents import BYTES
from seepage.findings import Findings

if TYPE_CHECKING:
    from seepage.data import Dataset

__all__ = ["token_values"]

LEVELS = 8
# Nats that are shaded darkest at least, so that a run that leaks nothing is not painted.
_LEAST = 0.5


def token_values(f: Findings, data: Dataset | None) -> Mapping[str, Any] | None:
    """What the section's template reads; None where there are no tokens or records are withheld."""
    shares = f.tokens
    if shares is None or data is None or data.task != "language":
        return None
    sure = [np.where(s, g, 0.0) for g, s in zip(shares.gain, shares.sure, strict=True)]
    above = np.concatenate([g[g > 0] for g in sure])
    top = max(_LEAST, float(np.percentile(above, 99)) if above.size else 0.0)
    documents = []
    for i, values in zip(shares.rows.tolist(), sure, strict=True):
        shades = np.clip(np.ceil(values / top * LEVELS), 0, LEVELS).astype(np.int64)
        pieces = _pieces(data.rows(np.array([i])).numpy()[0], data.classes)
        documents.append(
            {
                "row": i,
                "id": str(f.ids[i]),
                "first": pieces[0],
                "pieces": list(zip(pieces[1:], shades[-1].tolist(), strict=True)),
                "levels": "|".join("".join(map(str, row)) for row in shades.tolist()),
                "total": f"{float(values[-1].sum()):.1f}",
            }
        )
    return {
        "documents": documents,
        "times": "|".join(f.clock(t) for t in f.checkpoints),
        "last": f.clock(f.checkpoints[-1]),
        "count": len(f.checkpoints),
        "top": f"{top:.2g}",
    }


def _pieces(row: AnyArray, classes: tuple[str, ...]) -> list[str]:
    """The text of each token: bytes as the signs that they end, others by their names."""
    held = row[row >= 0].astype(np.int64).tolist()
    if classes != BYTES:
        return [classes[k].replace("Ġ", " ").replace("▁", " ") for k in held]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(bytes([k])) for k in held]
