"""Documents as rows of token numbers: checked, cut to a context, bytes as a vocabulary."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import AnyArray, Int64Array
from seepage.errors import InputError

__all__ = [
    "BYTES",
    "LONG",
    "Long",
    "check_documents",
    "cut_documents",
    "text_of",
    "token_rows",
    "zlib_lengths",
]

Long = Literal["window", "split", "cut", "refuse"]
LONG = ("window", "split", "cut", "refuse")

BYTES = tuple(chr(b) if 32 < b < 127 else f"<0x{b:02X}>" for b in range(256))
"""Names of the pieces of the vocabulary of bytes, which is made from no text at all."""

# No token has this number; where a document has ended.
_ENDED = -1
_LARGEST = 2**24


def token_rows(documents: Sequence[Sequence[int]] | AnyArray, name: str) -> list[Int64Array]:
    """Documents as arrays of token numbers, each of at least two.

    Raises InputError, naming the document, for padding, for what is no row of numbers, and for documents
    of no or one token, in which nothing is predicted.
    """
    rows: list[Int64Array] = []
    for i, document in enumerate(documents):
        row = np.asarray(document)
        if row.ndim != 1 or (row.size and row.dtype.kind not in "iu"):
            raise InputError(
                f"{name}: expected a list of token numbers for every document, got {row.dtype} of shape "
                f"{row.shape} for document {i}; pass tokenizer(texts)['input_ids']"
            )
        if row.size < 2:
            raise InputError(
                f"{name}: expected at least 2 tokens in every document, since the first one is not "
                f"predicted, got {row.size} in document {i}; leave it out"
            )
        if row.min() < 0 or row.max() >= _LARGEST:
            where = "on the left " if row[0] < 0 <= row[-1] else ""
            raise InputError(
                f"{name}: expected token numbers in 0..{_LARGEST - 1}, got {row.min()} to {row.max()} in "
                f"document {i}; pass documents without padding {where}".rstrip()
            )
        rows.append(row.astype(np.int64))
    if not rows:
        raise InputError(f"{name}: expected at least one document, got none")
    return rows


def cut_documents(
    rows: Sequence[Int64Array], context: int, long: Long, name: str
) -> tuple[NDArray[np.float32], Int64Array]:
    """Rows of at most `context` tokens, −1 after their end, and of which document each is.

    long: what becomes of longer documents: "window" and "split" make windows of `context` tokens one after
    another, of which the last is shorter and left out where it has one token alone; "cut" keeps the
    beginning; "refuse" raises InputError.

    >>> table, of = cut_documents([np.arange(5), np.arange(2)], 2, "window", "texts")
    >>> table.tolist(), of.tolist()
    ([[0.0, 1.0], [2.0, 3.0], [0.0, 1.0]], [0, 0, 1])
    """
    if context < 2:
        raise InputError(f"data.context: expected at least 2 tokens, got {context}")
    if long not in LONG:
        raise InputError(f"data.long: expected one of {', '.join(LONG)}, got {long!r}")
    parts: list[Int64Array] = []
    of: list[int] = []
    for i, row in enumerate(rows):
        if len(row) > context and long == "refuse":
            raise InputError(
                f"{name}: expected documents of at most {context} tokens (data.context), got {len(row)} in "
                f"document {i}; raise it, or set data.long to 'window', 'split' or 'cut'"
            )
        ends = context if long == "cut" else len(row)
        for begin in range(0, ends, context):
            part = row[begin : begin + context]
            if len(part) > 1:
                parts.append(part)
                of.append(i)
    table = np.full((len(parts), max(map(len, parts))), _ENDED, dtype=np.float32)
    for i, part in enumerate(parts):
        table[i, : len(part)] = part
    return table, np.array(of, dtype=np.int64)


def check_documents(x: AnyArray, name: str, ids: NDArray[np.str_], pieces: int) -> None:
    """Raise InputError unless rows (N, L) are documents over a vocabulary of so many pieces."""
    there = x >= 0
    odd = (x != np.rint(x)) | (x < _ENDED)
    begin = np.argmax(there, axis=1)
    lengths = there.sum(axis=1)
    gaps = np.diff(there.astype(np.int8), axis=1) > 0
    for bad, what in (
        (odd.any(axis=1), "whole token numbers from 0, and -1 after the end"),
        (lengths < 2, "at least 2 tokens in every document, since the first one is not predicted"),
        ((begin > 0) | gaps.any(axis=1), "padding after the end of a document alone, on its right"),
        (x.max(axis=1) >= pieces, f"tokens of the vocabulary, 0..{pieces - 1}"),
    ):
        if bad.any():
            row = int(bad.argmax())
            shown = ", ".join(f"{v:g}" for v in x[row][:4].tolist())
            raise InputError(
                f"{name}: expected {what} with task = 'language', got {shown}, … in row {row} "
                f"({ids[row]}); correct it or leave it out"
            )


def text_of(row: AnyArray, classes: tuple[str, ...]) -> bytes | None:
    """The bytes of a document (L,) whose vocabulary is of bytes; None of another, whose texts are not known."""
    if classes != BYTES:
        return None
    held = np.asarray(row)
    return held[held >= 0].astype(np.uint8).tobytes()


def zlib_lengths(rows: AnyArray, classes: tuple[str, ...]) -> Int64Array:
    """Bytes that zlib makes of each document's text, (N, L) -> (N,); 0 where texts are not known."""
    if classes != BYTES:
        return np.zeros(len(rows), dtype=np.int64)
    found = [len(zlib.compress(text_of(row, BYTES) or b"")) for row in rows]
    return np.array(found, dtype=np.int64)
