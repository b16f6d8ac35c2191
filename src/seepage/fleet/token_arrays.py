"""Arrays of language models: what each said of every predicted token, and where documents begin."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.array_types import AnyArray, BoolArray, Int64Array
from seepage.data.reading import as_text
from seepage.errors import InputError
from seepage.fleet.given_signals import Array, Signal
from seepage.tokens import Tokens, document_signal
from seepage.tokens.ragged import checked_offsets

__all__ = ["TokenArrays", "taken"]

PER_TOKEN = ("token_logp", "token_first", "token_mean", "token_std", "token_reference")
BESIDE = ("offsets", "zlib", "texts")


@dataclass(frozen=True, eq=False)
class _GivenTokens:
    """One array of tokens as it is stored: (R, T, S), (R, S) of one checkpoint, or (S,) of all models."""

    where: str
    name: str
    values: Array
    axes: int
    tokens: int

    @property
    def checkpoints(self) -> int | None:
        """How many there are; None of an array that is the same for all."""
        if self.axes == 1:
            return None
        return 1 if self.axes == 2 else self.values.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.tokens,)

    @property
    def dtype(self) -> str:
        if self.name == "token_first":
            return "uint8"
        # Which tokens a reference finds hardest turns on its last digits.
        half = self.values.dtype == np.float16 and self.name != "token_reference"
        return "float16" if half else "float32"

    def block(self, r: int, t: int) -> AnyArray:
        """One model at one checkpoint, every value looked at."""
        at: Any = (..., (r,), (r, t))[self.axes - 1]
        a = np.asarray(self.values[at]).reshape(-1)
        bad = ~np.isfinite(a) if a.dtype.kind == "f" else np.zeros(a.shape, np.bool_)
        told = f"{self.where}: {self.name}"
        if bad.any():
            s = int(bad.argmax())
            raise InputError(
                f"{told}: expected finite values, got {a[s]} at token {s} of model {r}; evaluate it in "
                "float32, or leave that run out"
            )
        if self.name == "token_first" and not np.isin(a, (0, 1)).all():
            raise InputError(f"{told}: expected 0 and 1, got others; save whether it ranked first")
        if self.name in ("token_logp", "token_reference", "token_mean") and (a > 0).any():
            s = int((a > 0).argmax())
            how = "their negative" if (a >= 0).all() else "log p in nats"
            raise InputError(
                f"{told}: expected log p of at most 0, got {a[s]:g} at token {s} of model {r}; save {how}"
            )
        if self.name == "token_std" and (a < 0).any():
            raise InputError(f"{told}: expected standard deviations from 0, got {a.min():g}")
        return a.astype(self.dtype)


@dataclass(frozen=True, eq=False)
class _Document:
    """`loss` or `logp` of documents, from log p of their tokens in float64."""

    name: str
    source: _GivenTokens
    offsets: Int64Array
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.offsets) - 1,)

    def block(self, r: int, t: int) -> AnyArray:
        tokens = Tokens(self.offsets, self.source.block(r, t))
        return document_signal(tokens, self.name).astype(np.float32)


@dataclass(frozen=True, eq=False)
class TokenArrays:
    """What was given of tokens: signals by name, checkpoints, offsets (N + 1,), zlib lengths (N,)."""

    signals: dict[str, _GivenTokens]
    checkpoints: int
    offsets: Int64Array
    zlib: Int64Array

    def look(self, member: BoolArray, checkpoints: int) -> list[str]:
        """Every value once, before any is written; what the user must know. Raises InputError."""
        for signal in self.signals.values():
            for r in range(len(member)):
                for t in range(checkpoints):
                    signal.block(r, t)
        return []

    def documents(self, given: Mapping[str, Any]) -> dict[str, Signal]:
        """`loss` and `logp` of documents, where they were not given."""
        logp = self.signals["token_logp"]
        return {n: _Document(n, logp, self.offsets) for n in ("loss", "logp") if n not in given}


def taken(
    where: str, arrays: Mapping[str, Array], models: int, samples: int
) -> tuple[dict[str, Array], TokenArrays | None]:
    """The arrays without those of tokens, and these; None where none was given.

    Raises InputError for tokens without offsets or log p, and for shapes that do not fit.
    """
    given = {k: a for k, a in arrays.items() if k in PER_TOKEN}
    if not given:
        return dict(arrays), None
    rest = {k: a for k, a in arrays.items() if k not in (*PER_TOKEN, *BESIDE)}
    for name, what in (
        ("token_logp", "log p of every token"),
        ("offsets", "where documents begin"),
    ):
        if name not in arrays:
            raise InputError(
                f"{where}: {name}: expected {what} with {next(iter(given))}, got none; save it"
            )
    offsets = checked_offsets(np.asarray(arrays["offsets"][...]), f"{where}: offsets")
    if len(offsets) != samples + 1:
        raise InputError(
            f"{where}: offsets: expected {samples + 1} for {samples} documents, got {len(offsets)}; "
            "document i has the tokens from its i-th to its next"
        )
    whole = int(offsets[-1])
    signals = {k: _shaped(where, k, a, models, whole) for k, a in given.items()}
    counts = {k: s.checkpoints for k, s in signals.items() if s.checkpoints is not None}
    if len(set(counts.values())) != 1:
        raise InputError(
            f"{where}: expected tokens at the same checkpoints, got {counts}; save the same of each"
        )
    return rest, TokenArrays(
        signals, next(iter(counts.values())), offsets, _sizes(where, arrays, samples)
    )


def _shaped(where: str, name: str, a: Array, models: int, tokens: int) -> _GivenTokens:
    if a.dtype.kind not in "fiub":
        raise InputError(f"{where}: {name}: expected numbers, got {a.dtype}; convert them")
    alike = a.ndim == 1 and name == "token_reference"
    leads = a.shape[0] == models and 2 <= a.ndim <= 3 and a.shape[1] > 0
    if a.shape[-1] != tokens or not (alike or leads):
        raise InputError(
            f"{where}: {name}: expected shape ({models}, checkpoints, {tokens}) as offsets say, got "
            f"{a.shape}; save the predicted tokens of all documents, one after the other"
        )
    return _GivenTokens(where, name, a, a.ndim, tokens)


def _sizes(where: str, arrays: Mapping[str, Array], samples: int) -> Int64Array:
    """Bytes that zlib makes of each text, (N,): as given, from the texts, or 0."""
    if "zlib" in arrays:
        found = np.asarray(arrays["zlib"][...])
        if found.shape != (samples,) or found.dtype.kind not in "iu" or (found < 1).any():
            raise InputError(
                f"{where}: zlib: expected the bytes of zlib.compress(text) of {samples} documents, got "
                f"{found.dtype} of shape {found.shape}; leave it out, or save `texts`"
            )
        return found.astype(np.int64)
    if "texts" not in arrays:
        return np.zeros(samples, dtype=np.int64)
    texts = as_text(f"{where}: texts", np.asarray(arrays["texts"][...]))
    if texts.shape != (samples,):
        raise InputError(
            f"{where}: texts: expected one for each of {samples} documents, got shape {texts.shape}"
        )
    return np.array([len(zlib.compress(str(t).encode())) for t in texts], dtype=np.int64)
