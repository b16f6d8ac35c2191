"""How far a canary has moved to the front of all that it might have been."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import Float64Array
from seepage.errors import InputError
from seepage.given_arrays import given_floats

__all__ = ["exposure"]


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
