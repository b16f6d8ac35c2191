"""How far a canary has moved to the front of all that it might have been."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import ArrayLike

from seepage.array_types import AnyArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_floats

__all__ = ["exposure", "exposure_by_chance", "secret_logp"]


def exposure(canaries: ArrayLike, others: ArrayLike) -> Float64Array:
    """Exposure in bits of canaries by their rank among texts of the same form: (C,), (M,) -> (C,).

    exposure = log2(M + 1) − log2(rank), the rank of a canary's log-likelihood among its own and those of M
    others that were drawn as it was and not inserted, 1 for the most likely, ties shared: from 0 to
    log2(M + 1). A canary that was not learnt has on average log2 e = 1.44 bits, and k bits or more with
    probability 2^−k.

    canaries (C,): log-likelihoods, any unit, higher = likelier. others (M,): those of the texts that might
    have been inserted. Assumes that both were drawn alike. Source: Carlini et al., arXiv 1802.08232,
    section 4, whose rank is among all texts of the form; here among a sample of them.

    Raises InputError where there are no others, or values are not finite.

    >>> exposure([-1.0, -9.0], [-2.0, -3.0, -4.0]).tolist()
    [2.0, 0.0]
    """
    own, rest = (
        given_floats(canaries, "canaries").reshape(-1),
        np.sort(given_floats(others, "others").reshape(-1)),
    )
    if not rest.size:
        raise InputError("others: expected texts that were not inserted, got none; draw some")
    if not (np.isfinite(own).all() and np.isfinite(rest).all()):
        raise InputError("canaries: expected finite log-likelihoods, got some that are not")
    above = rest.size - np.searchsorted(rest, own, side="right")
    tied = np.searchsorted(rest, own, side="right") - np.searchsorted(rest, own, side="left")
    return np.asarray(np.log2(rest.size + 1) - np.log2(1 + above + tied / 2))


def exposure_by_chance(others: int) -> float:
    """Mean exposure in bits of a canary that no model saw, among M = `others` texts: exact, near log2 e = 1.44.

    Its rank is uniform on 1 to M + 1: log2(M + 1) − log2((M + 1)!)/(M + 1).

    >>> round(exposure_by_chance(255), 3), round(exposure_by_chance(1), 3)
    (1.422, 0.5)
    """
    if others < 1:
        raise InputError(f"others: expected at least 1, got {others}")
    n = others + 1.0
    return float(np.log2(n) - scipy.special.gammaln(n + 1) / np.log(2.0) / n)


def secret_logp(
    logp: AnyArray, offsets: Int64Array, rows: Int64Array, begin: Int64Array
) -> Float64Array:
    """log p of what is secret of some documents, in nats: its tokens' sum, (S,) -> (C,).

    logp (S,), offsets (N + 1,): as a run holds them, document i's predicted tokens at offsets[i] to
    offsets[i + 1]. rows (C,): documents. begin (C,): the token at which the secret begins, at least 1: the
    first token of a document is not predicted.

    >>> secret_logp(np.array([-1.0, -2.0, -4.0]), np.array([0, 1, 3]), np.array([1, 1]), np.array([1, 2])).tolist()
    [-6.0, -4.0]
    """
    at = np.asarray(offsets, dtype=np.int64)
    first, last = at[rows] + np.asarray(begin) - 1, at[np.asarray(rows) + 1]
    if len(first) and ((first < at[rows]) | (first >= last)).any():
        raise InputError("begin: expected a token of each document after its first; correct it")
    if not len(first):
        return np.empty(0)
    held = np.append(np.asarray(logp, dtype=np.float64), 0.0)
    return np.asarray(np.add.reduceat(held, np.stack([first, last], axis=1).ravel())[::2])
