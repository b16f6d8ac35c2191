"""Flat arrays of tokens, and documents of one length taken from them block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.array_types import AnyArray, Float64Array, Int64Array
from seepage.errors import InputError

__all__ = ["Block", "Tokens", "checked_offsets", "over_documents", "windows"]

# Tokens of a block: each of its arrays takes 8 bytes for one.
_AT_ONCE = 1 << 19

PER_TOKEN = ("logp", "first", "mean", "std", "reference")


def checked_offsets(offsets: Any, what: str = "offsets") -> Int64Array:
    """Offsets (N + 1,) as int64: whole numbers from 0, ascending, every document with a token.

    Raises InputError for others, naming the document.

    >>> checked_offsets([0, 3, 3])
    Traceback (most recent call last):
        ...
    seepage.errors.InputError: offsets: expected at least one predicted token in every document, got \
0 in document 1; leave it out, or give the model a token to begin with
    """
    found = np.asarray(offsets)
    if found.ndim != 1 or found.dtype.kind not in "iu" or len(found) < 2 or int(found[0]) != 0:
        raise InputError(
            f"{what}: expected whole numbers (documents + 1,) from 0, got {found.dtype} of shape "
            f"{found.shape}; document i has the tokens from its i-th to its next"
        )
    held = found.astype(np.int64)
    short = np.flatnonzero(np.diff(held) < 1)
    if short.size:
        i = int(short[0])
        raise InputError(
            f"{what}: expected at least one predicted token in every document, got "
            f"{int(held[i + 1] - held[i])} in document {i}; leave it out, or give the model a token "
            "to begin with"
        )
    return held


@dataclass(frozen=True, eq=False)
class Tokens:
    """What one model at one checkpoint says of every predicted token of a pool of documents.

    offsets (N + 1,): document i's tokens are offsets[i]:offsets[i + 1]. logp (S,): log p of the token
    given those before it, in nats, at most 0. first (S,): whether it was ranked first. mean, std (S,):
    mean and standard deviation of log p over the vocabulary under the model's own answer. reference (S,):
    log p by a model that saw none of the documents. zlib (N,): bytes of `zlib.compress(text)`, 0 where the
    text is not known. All but the first two may be None. Types are the caller's; arithmetic is float64.

    Raises InputError for shapes that do not fit.

    >>> Tokens(np.array([0, 2, 3]), np.array([-1.0, -3.0, -2.0])).documents
    2
    """

    offsets: Int64Array
    logp: AnyArray
    first: AnyArray | None = None
    mean: AnyArray | None = None
    std: AnyArray | None = None
    reference: AnyArray | None = None
    zlib: AnyArray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "offsets", checked_offsets(self.offsets))
        whole = int(self.offsets[-1])
        for name in (*PER_TOKEN, "zlib"):
            values = getattr(self, name)
            size = self.documents if name == "zlib" else whole
            if values is not None and np.shape(values) != (size,):
                raise InputError(
                    f"{name}: expected shape ({size},) as offsets say, got {np.shape(values)}; "
                    "save the predicted tokens of all documents, one after the other"
                )

    @property
    def documents(self) -> int:
        """How many."""
        return len(self.offsets) - 1

    def blocks(self) -> Iterator[tuple[Int64Array, Block]]:
        """Documents of one length together, a few at a time: their positions and what they hold."""
        lengths = np.diff(self.offsets)
        order = np.argsort(lengths, kind="stable")
        ends = np.flatnonzero(np.diff(lengths[order])) + 1
        for rows in np.split(order, ends):
            n = int(lengths[rows[0]])
            for at in range(0, len(rows), max(1, _AT_ONCE // n)):
                part = rows[at : at + max(1, _AT_ONCE // n)]
                yield part, self._block(part, n)

    def _block(self, rows: Int64Array, n: int) -> Block:
        begin = int(self.offsets[rows[0]])
        together = int(rows[-1]) - int(rows[0]) + 1 == len(rows)
        # The rows ascend: documents that lie side by side are read as they lie.
        at: Any = slice(begin, begin + n * len(rows))
        if not together:
            at = self.offsets[rows][:, None] + np.arange(n)
        found: dict[str, Any] = {}
        for name in PER_TOKEN:
            values = getattr(self, name)
            if values is not None:
                found[name] = np.asarray(values[at]).reshape(len(rows), n).astype(np.float64)
        if self.zlib is not None:
            found["zlib"] = np.asarray(self.zlib)[rows].astype(np.float64)
        return Block(**found)


@dataclass(frozen=True, eq=False)
class Block:
    """Some documents of one length n: arrays (documents, n) float64, zlib (documents,); as `Tokens`."""

    logp: Float64Array
    first: Float64Array | None = None
    mean: Float64Array | None = None
    std: Float64Array | None = None
    reference: Float64Array | None = None
    zlib: Float64Array | None = None

    def need(self, name: str) -> Float64Array:
        """One of its arrays; InputError where it was not recorded."""
        values: Float64Array | None = getattr(self, name)
        if values is None:
            raise InputError(f"{name}: expected it of every token, got none; record token_{name}")
        return values

    @property
    def gain(self) -> Float64Array:
        """log p − log p by the reference, in nats: (documents, n)."""
        return np.asarray(self.logp - self.need("reference"))


def over_documents(tokens: Tokens, rule: Callable[[Block], Float64Array]) -> Float64Array:
    """A rule of single documents, over all of them: -> (N,) or (N, F) float64.

    rule: a block of documents of one length -> (documents,) or (documents, F).

    >>> tokens = Tokens(np.array([0, 2, 3]), np.array([-1.0, -3.0, -2.0]))
    >>> over_documents(tokens, lambda block: block.logp.sum(axis=1)).tolist()
    [-4.0, -2.0]
    """
    out: Float64Array | None = None
    for rows, block in tokens.blocks():
        found = np.asarray(rule(block), dtype=np.float64)
        if out is None:
            out = np.empty((tokens.documents, *found.shape[1:]))
        out[rows] = found
    assert out is not None  # there is at least one document
    return out


def windows(offsets: Int64Array, length: int) -> tuple[Int64Array, Int64Array]:
    """Documents cut into sequences of at most `length` tokens: their offsets, and whose each is.

    (N + 1,) -> (W + 1,), (W,). `Tokens` under these offsets has sequences in place of documents. The
    last sequence of a document has what is left. Raises InputError for a length below 1.

    >>> [a.tolist() for a in windows(np.array([0, 5, 7]), 2)]
    [[0, 2, 4, 5, 7], [0, 0, 0, 1]]
    """
    if length < 1:
        raise InputError(f"length: expected at least 1 token, got {length}")
    held = checked_offsets(offsets)
    counts = -(-np.diff(held) // length)
    whose = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(whose)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.append(held[:-1][whose] + length * place, held[-1]).astype(np.int64), whose
