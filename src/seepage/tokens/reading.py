"""Signals of documents from the log-probabilities of tokens that a run recorded, when they are asked for.

A source that holds tokens has `offsets` (N + 1,) and `token_signal(name, row, t)`: what one model at one
checkpoint says of every predicted token, (S,). One model is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from seepage.array_types import AnyArray, FloatArray
from seepage.errors import InputError
from seepage.plan import partitions
from seepage.tokens.documents import DOCUMENT_SIGNALS, document_signal
from seepage.tokens.others import AmongOthers
from seepage.tokens.ragged import Tokens

__all__ = [
    "AGAINST_OTHERS",
    "FROM_TOKENS",
    "documents_at",
    "follows",
    "holds_tokens",
    "lacks_tokens",
    "tokens_at",
]

AGAINST_OTHERS = "others_ratio"
"""Mean over tokens of log p less the log of the mean p under other models; see `AmongOthers`."""

FROM_TOKENS = (*DOCUMENT_SIGNALS, AGAINST_OTHERS)
"""What follows from log-probabilities of tokens, and so need not have been recorded."""


def holds_tokens(source: Any) -> bool:
    """Whether log p of every token was recorded."""
    return getattr(source, "offsets", None) is not None and "token_logp" in _recorded(source)


def _recorded(source: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(source, "manifest", {}).get("signals", {})
    return found


def lacks_tokens(name: str, source: Any) -> str | None:
    """Why a signal of documents does not follow from what was recorded; None when it does."""
    if not holds_tokens(source):
        return f"needs {name}, which follows from log p of every token of a text, and none was recorded"
    if name == AGAINST_OTHERS:
        if len(np.unique(partitions(source.member))) < 2:
            return f"needs {name}, which compares with the runs of another tuple, and there is one tuple"
        return None
    for field in DOCUMENT_SIGNALS[name].reads:
        if field == "reference" and _reference(source) is None:
            return (
                f"needs {name}, which compares with a reference; start every run from given weights "
                "and record checkpoint 0, or import token_reference"
            )
        if field == "zlib" and not _texts_known(source):
            return (
                f"needs {name}, which reads how well a text compresses, and the texts are not known"
            )
        if field not in ("reference", "zlib") and f"token_{field}" not in _recorded(source):
            return f"needs {name}, which reads token_{field}, which was not recorded; record it"
    return None


def _texts_known(source: Any) -> bool:
    sizes = getattr(source, "zlib", None)
    return sizes is not None and bool(np.all(np.asarray(sizes) > 0))


def _reference(source: Any) -> tuple[str, int | None] | None:
    """Where the reference's log p lies: a signal, and the checkpoint if it is always the same one.

    A recorded `token_reference`, or the model itself before it was trained, where every run starts from
    the same given weights.
    """
    if "token_reference" in _recorded(source):
        return "token_reference", None
    model = getattr(source, "manifest", {}).get("key", {}).get("model") or {}
    given = isinstance(model, Mapping) and bool(model.get("weights")) and not model.get("reset")
    return ("token_logp", 0) if given and float(source.checkpoints[0]) == 0 else None


def tokens_at(source: Any, row: int, t: int, fields: tuple[str, ...]) -> Tokens:
    """One model at one checkpoint: log p of every token, and the named fields of `Tokens`.

    Raises InputError for a log p above 0 or that is no number.
    """
    found: dict[str, AnyArray] = {}
    for field in fields:
        if field == "zlib":
            found[field] = np.asarray(source.zlib)
        elif field == "reference":
            where = _reference(source)
            if where is None:
                raise InputError(
                    "reference: expected log p of every token by a reference, got none"
                )
            name, at = where
            found[field] = source.token_signal(name, row, t if at is None else at)
        else:
            found[field] = source.token_signal(f"token_{field}", row, t)
    return Tokens(np.asarray(source.offsets), source.token_signal("token_logp", row, t), **found)


def follows(source: Any) -> tuple[str, ...]:
    """The signals of documents that follow from what a source recorded of tokens, and are none of it."""
    if not holds_tokens(source):
        return ()
    held = _recorded(source)
    return tuple(n for n in FROM_TOKENS if n not in held and lacks_tokens(n, source) is None)


def documents_at(source: Any, name: str, t: int) -> FloatArray:
    """A signal of documents under every model at checkpoint index `t`: (R, N) or (R, N, F) float32.

    Rounded to float32 once, as recorded signals are.
    """
    models = range(len(source.member))
    if name == AGAINST_OTHERS:
        tuples = np.asarray(partitions(source.member), dtype=np.int64)
        others = AmongOthers(lambda r: source.token_signal("token_logp", r, t), tuples)
        found: list[FloatArray] = [np.empty(0)] * len(models)
        # Models of a tuple share what they are compared with.
        for r in np.argsort(tuples, kind="stable").tolist():
            found[r] = others.documents(r, np.asarray(source.offsets)).astype(np.float32)
        return np.stack(found)
    fields = DOCUMENT_SIGNALS[name].reads
    return np.stack(
        [document_signal(tokens_at(source, r, t, fields), name).astype(np.float32) for r in models]
    )
