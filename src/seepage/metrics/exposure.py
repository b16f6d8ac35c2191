"""Per-sample evidence: an exact test for every sample, with false discoveries controlled.

The test reads the signal itself and not the attack's decisions: decisions about one sample share
references, which makes them dependent. And it compares within pairs of runs, because that is what
the plan drew by lot: in every complementary pair a coin said which run was trained on the sample.
"""

from __future__ import annotations

from math import comb

import numpy as np
from scipy import stats

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.plan import twins

__all__ = ["benjamini_hochberg", "cut_off", "evidence", "smallest"]


# Beyond so many pairs or models the normal approximation is closer than anyone could tell.
EXACT_AT_MOST = 200


def evidence(signal: FloatArray, member: BoolArray) -> Float64Array:
    """One-sided exact test per sample that membership raises the signal: (R, N), (R, N) -> p (N,).

    With complementary pairs of runs: Wilcoxon's signed-rank test of the differences IN − OUT, one
    per pair. It is exact whatever else differs between the two runs, as their roles were drawn by
    lot; p is never below 2^−pairs, and runs whose twin failed are not used. Without any pair:
    Mann-Whitney's rank test, which assumes that runs are exchangeable; a sample that was never on
    one side then gets p = 1. Ties make both slightly conservative or approximate.

    >>> signal = np.array([[3.0], [1.0], [4.0], [2.0]])
    >>> evidence(signal, np.array([[1], [0], [1], [0]], dtype=bool)).tolist()
    [0.25]
    """
    values = np.asarray(signal, dtype=np.float64)
    twin = twins(member)
    first = np.flatnonzero(twin > np.arange(len(twin)))
    p = _paired(values, member, first, twin[first]) if first.size else _unpaired(values, member)
    return np.clip(np.nan_to_num(p, nan=1.0), 0.0, 1.0)


def _paired(values: Float64Array, member: BoolArray, first: Int64Array, second: Int64Array) -> Float64Array:  # fmt: skip
    gap = np.where(member[first], 1.0, -1.0) * (values[first] - values[second])
    method = "exact" if len(first) <= EXACT_AT_MOST else "asymptotic"
    found = stats.wilcoxon(gap, alternative="greater", axis=0, method=method, zero_method="pratt")
    # All differences zero: nothing speaks for membership.
    return np.where((gap == 0).all(axis=0), 1.0, np.asarray(found.pvalue, dtype=np.float64))


def _unpaired(values: Float64Array, member: BoolArray) -> Float64Array:
    models = len(values)
    n_in = member.sum(axis=0)
    p = np.ones(values.shape[1])
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
    return p


def smallest(member: BoolArray) -> float:
    """The smallest p that `evidence` can give under a plan: perfect separation.

    >>> smallest(np.array([[1], [0], [1], [0]], dtype=bool))
    0.25
    """
    twin = twins(member)
    pairs = int((twin > np.arange(len(twin))).sum())
    if pairs:
        return float(2.0**-pairs)
    n_in = member.sum(axis=0)
    return 1 / max(comb(len(member), int(n)) for n in np.unique(n_in))


def benjamini_hochberg(p: Float64Array) -> Float64Array:
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


def cut_off(p: Float64Array, level: float) -> float:
    """Largest p that Benjamini-Hochberg still accepts at `level`; −1 when none is.

    >>> cut_off(np.array([0.01, 0.5]), 0.05)
    0.01
    """
    ok = p[benjamini_hochberg(p) <= level]
    return float(ok.max()) if ok.size else -1.0
