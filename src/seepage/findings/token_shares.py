"""Where in the most exposed documents the evidence lies: each token's share of it, over training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.metrics import EACH, Unit
from seepage.short_repr import short_repr
from seepage.tokens import holds_tokens

__all__ = ["TokenShares", "token_shares"]

SHOWN = 12
# Tokens of all models and checkpoints together that are read for it at most.
_MOST = 4_000_000_000


@short_repr
@dataclass(frozen=True)
class TokenShares:
    """Of some documents, by how much training on each raises log p of each of its predicted tokens.

    rows (K,): positions among the report's samples. gain: of each document (T, n), the mean of log p under
    models that were trained on it less the mean under the others, in nats. sure: of each (T, n), whether
    that is more than two standard errors above 0.
    """

    rows: Int64Array
    gain: tuple[Float64Array, ...]
    sure: tuple[BoolArray, ...]


def token_shares(run: Any, rows: Int64Array, unit: Unit = EACH) -> TokenShares | None:
    """Of the first `SHOWN` of these documents; None without tokens, for subjects, or of too many tokens.

    run: with `member` (R, N), by record. rows: positions of documents there.
    """
    if unit != EACH or not holds_tokens(run):
        return None
    member, offsets = np.asarray(run.member, dtype=np.bool_), np.asarray(run.offsets)
    times = len(run.checkpoints)
    if len(member) * times * int(offsets[-1]) > _MOST or not len(rows):
        return None
    rows = np.asarray(rows[:SHOWN], dtype=np.int64)
    # Of a part of a run, where its samples stand in the whole.
    whole = np.asarray(getattr(run, "rows", np.arange(member.shape[1])))[rows]
    sizes = np.diff(offsets)[whole]
    at = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in whole])
    inside = np.repeat(member[:, rows], sizes, axis=1)
    ends = np.cumsum(sizes)[:-1]
    gains: list[list[Float64Array]] = [[] for _ in rows]
    sures: list[list[BoolArray]] = [[] for _ in rows]
    for t in range(times):
        logp = np.stack([run.token_signal("token_logp", r, t)[at] for r in range(len(member))])
        gain, error = _apart(logp.astype(np.float64), inside)
        for k, (g, e) in enumerate(zip(np.split(gain, ends), np.split(error, ends), strict=True)):
            gains[k].append(g)
            sures[k].append(g > 2 * e)
    return TokenShares(rows, tuple(map(np.stack, gains)), tuple(map(np.stack, sures)))


def _apart(logp: Float64Array, inside: BoolArray) -> tuple[Float64Array, Float64Array]:
    """Difference of the means of IN and OUT models, and its standard error: (R, S), (R, S) -> (S,), (S,).

    The error is infinite where a side has fewer than two models.
    """
    means, variances = [], []
    for side in (inside, ~inside):
        n = side.sum(axis=0)
        mean = np.where(side, logp, 0.0).sum(axis=0) / np.maximum(n, 1)
        square = np.where(side, (logp - mean) ** 2, 0.0).sum(axis=0)
        means.append(mean)
        variances.append(np.where(n > 1, square / np.maximum((n - 1) * n, 1), np.inf))
    return means[0] - means[1], np.sqrt(variances[0] + variances[1])
