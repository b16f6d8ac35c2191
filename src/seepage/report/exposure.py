"""Per-sample evidence: an exact test for every sample, with false discoveries controlled.

The test reads the signal itself and not the attack's decisions: decisions about one sample share
references, which makes them dependent, while signals of different runs are separate draws.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["benjamini_hochberg", "cut_off", "rank_test", "smallest"]

F64 = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# Beyond so many models the normal approximation is closer than anyone could tell.
EXACT_AT_MOST = 200


def rank_test(signal: NDArray[np.floating], member: BoolArray) -> F64:
    """One-sided Mann-Whitney test per sample: (R, N), (R, N) bool -> p (N,).

    p is the chance, were membership of no effect, that the runs trained on the sample rank at
    least as far above the others as they do. Exact without ties up to 200 models, else by the
    normal approximation. A sample that was never on one side gets p = 1. Assumes that a sample's
    signals are exchangeable between runs; the two runs of a pair see complementary pools, which
    makes them very slightly dependent.

    >>> signal = np.array([[3.0], [4.0], [1.0], [2.0]])
    >>> rank_test(signal, np.array([[1], [1], [0], [0]], dtype=bool)).round(4).tolist()
    [0.1667]
    """
    models = len(signal)
    values = np.asarray(signal, dtype=np.float64)
    n_in = member.sum(axis=0)
    p = np.ones(signal.shape[1])
    method = "exact" if models <= EXACT_AT_MOST else "asymptotic"
    # Members first, so that all samples that are IN equally often make two plain arrays.
    ordered = np.take_along_axis(values, np.argsort(~member, axis=0, kind="stable"), axis=0)
    for n in np.unique(n_in):
        if 0 < n < models:
            at = np.flatnonzero(n_in == n)
            block = ordered[:, at]
            p[at] = stats.mannwhitneyu(
                block[:n], block[n:], alternative="greater", axis=0, method=method
            ).pvalue
    return np.clip(np.nan_to_num(p, nan=1.0), 0.0, 1.0)


def smallest(n_in: int, n_out: int) -> float:
    """The smallest p that `rank_test` can give: perfect separation.

    >>> smallest(4, 4) == 1 / 70
    True
    """
    return 1 / comb(n_in + n_out, n_in) if n_in and n_out else 1.0


def benjamini_hochberg(p: F64) -> F64:
    """Adjusted p-values (N,): of the samples with q <= level, at most `level` are false on average.

    q_(i) = min over j >= i of p_(j) N / j (Benjamini and Hochberg 1995). Exact for independent or
    positively dependent tests.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    order = np.argsort(p, kind="stable")
    n = len(p)
    # N / j first: it is exactly 1 at the end, so that no q falls below its p by rounding.
    raised = p[order] * (n / np.arange(1, n + 1))
    q = np.empty(n)
    q[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return q


def cut_off(p: F64, level: float) -> float:
    """Largest p that Benjamini-Hochberg still accepts at `level`; −1 when none is.

    >>> cut_off(np.array([0.01, 0.5]), 0.05)
    0.01
    """
    ok = p[benjamini_hochberg(p) <= level]
    return float(ok.max()) if ok.size else -1.0
