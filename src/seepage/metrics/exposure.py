"""Per-sample evidence: an exact test for every sample, and how many of the names may be false.

The question is whether training on a record raises its signal, over the runs of a fleet; which
records of *one* model an attacker can name is another (`seepage.metrics.naming`).

The test reads the signal itself and not the attack's decisions: decisions about one sample share
references, which makes them dependent. And it compares within tuples of runs, because that is what
the plan drew at random: in every complementary tuple it was drawn which run was trained on the
sample.

Two statements about the names, which must not be confused. `benjamini_hochberg` controls the
*expected* share of false names: an average over fleets, of which any single one may have more
(`docs/naming.md` says in how many that is so). `at_most_false` bounds the number of false names in
*this* fleet, and holds in 95 % of fleets whatever set is named.

A small p is not a large leak: at a fixed small effect p falls with the number of runs, so the count
of names grows with it. Read every name beside its effect size, such as the AUC of its signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import comb, prod

import numpy as np
import scipy
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_floats, given_numbers
from seepage.metrics.unit import EACH, Unit
from seepage.native.library import contiguous, kernel, over_blocks
from seepage.plan import tuples

__all__ = ["Evidence", "at_most_false", "benjamini_hochberg", "cut_off", "evidence", "smallest"]


# Beyond so many pairs or models the normal approximation is indistinguishably close.
EXACT_AT_MOST = 200


def evidence(signal: FloatArray, member: BoolArray, *, unit: Unit = EACH) -> Float64Array:
    """One-sided exact test per sample that membership raises the signal: (R, N), (R, N) -> p (N,).

    Only complete tuples are used; runs of one of which another failed are not.

    - Pairs alone: Wilcoxon's signed-rank test of the differences IN − OUT, one per pair. It is
      exact whatever else differs between the two runs, as their roles were drawn at random; p is
      never below 2^−pairs. Ties make it approximate.
    - Tuples of k > 2, or of several sizes: S = Σ over tuples of the number of OUT runs whose signal
      lies below that of the tuple's IN run. By that draw it is each of 0..k−1 with equal
      probability, so under the null S is a sum of such numbers, whose law is their convolution: p =
      P(S' ≥ S), exact and at least Π 1/k. Ties count against membership, which keeps the test
      valid.
    - No tuple: Mann-Whitney's rank test, which assumes that runs are exchangeable; a sample that
      was never on one side then gets p = 1.

    unit: `Subjects(groups)` tests the sum of a subject's signals and gives one p each, (G,).

    >>> signal = np.array([[3.0], [1.0], [4.0], [2.0]])
    >>> evidence(signal, np.array([[1], [0], [1], [0]], dtype=bool)).tolist()
    [0.25]
    """
    (p,) = Evidence([member], unit=unit)(signal)
    return np.asarray(p)


class Evidence:
    """`evidence` of one signal after another under D memberships: (R, N) -> p (D, N).

    What they share is computed once: which runs are complementary, and where redrawn memberships
    keep the pairs, the ranks of a signal's differences, of which they change signs alone.

    >>> member = np.array([[1], [0], [1], [0]], dtype=bool)
    >>> Evidence([member, ~member])(np.array([[3.0], [1.0], [4.0], [2.0]])).ravel().tolist()
    [0.25, 1.0]
    """

    def __init__(self, members: Sequence[BoolArray], *, unit: Unit = EACH) -> None:
        self.given = [given_numbers(m, "member") for m in members]
        self.unit = unit
        self.plans: list[tuple[BoolArray, Int64Array, Int64Array]] | None = None

    def __call__(self, signal: FloatArray) -> Float64Array:
        """p of every sample under every membership."""
        given = given_numbers(signal, "signal")
        for member in self.given:
            if given.ndim != 2 or member.shape != given.shape or member.dtype != np.bool_:
                raise InputError(
                    f"signal, member: expected floats and bools of one shape (models, samples), got "
                    f"{given.shape} and {member.dtype} of shape {member.shape}; pass a truth value "
                    "per value"
                )
        values = np.asarray(self.unit.scores(given), dtype=np.float64)
        if self.plans is None:
            plans = []
            for member in map(self.unit.member, self.given):
                number = tuples(member)
                plans.append((member, number, np.bincount(number[number >= 0])))
            self.plans = plans
        ranked = _Pairs(values)
        found = []
        for member, number, sizes in self.plans:
            if not sizes.size:
                p = _unpaired(values, member)
            elif sizes.max() == 2:
                rows = np.flatnonzero(number >= 0)
                pair = rows[np.argsort(number[rows], kind="stable")].reshape(-1, 2)
                p = ranked.test(member, pair)
            else:
                p = _ranked(values, member, number, sizes)
            found.append(np.clip(np.nan_to_num(p, nan=1.0), 0.0, 1.0))
        return np.stack(found)


class _Pairs:
    """Wilcoxon's signed-rank test of one signal (R, N), ranks kept while the pairs are the same."""

    def __init__(self, values: Float64Array) -> None:
        self.values = values
        self.pair = np.empty((0, 2), np.int64)
        self.gap: Float64Array = np.empty(0)
        self.twice: NDArray[np.int32] = np.empty(0, np.int32)

    def test(self, member: BoolArray, pair: Int64Array) -> Float64Array:
        """p (N,) that IN exceeds OUT in the pairs (U, 2) of runs."""
        exact = len(pair) <= EXACT_AT_MOST
        if not np.array_equal(pair, self.pair):
            first, second = pair.T
            # Beyond the largest float a difference is infinite, of the right sign and rank.
            with np.errstate(over="ignore", invalid="ignore"):
                self.gap = self.values[first] - self.values[second]
            self.twice = _size_ranks(self.gap) if exact else np.empty(0, np.int32)
            self.pair = pair
        inside = member[pair[:, 0]]
        if not exact:
            gap = np.where(inside, self.gap, -self.gap)
            found = scipy.stats.wilcoxon(
                gap, alternative="greater", axis=0, method="asymptotic", zero_method="pratt"
            )
            p = np.asarray(found.pvalue, dtype=np.float64)
        else:
            above = np.where(inside, self.gap > 0, self.gap < 0)
            # Of ties half ranks; rounded down, which keeps the test valid.
            statistic = np.where(above, self.twice, 0).sum(axis=0, dtype=np.int64) // 2
            p = _signed_rank_tail(len(pair))[statistic]
            p = np.where(np.isnan(self.gap).any(axis=0), np.nan, p)
        # All differences zero: no evidence of membership.
        return np.where((self.gap == 0).all(axis=0), 1.0, p)


def _size_ranks(gap: Float64Array) -> NDArray[np.int32]:
    """Twice the mid-rank of every |gap| among those of its sample: (U, N) -> (U, N)."""
    rows, columns = gap.shape
    twice = np.empty(gap.shape, np.int32)
    compiled = kernel("size_ranks", "f8", int, int, int, int, "i4")
    if compiled is not None:
        held = contiguous(gap, "f8")
        over_blocks(lambda a, b: compiled(held, rows, columns, a, b, twice), columns, 4096)
        return twice
    size = np.abs(gap)
    for i, mine in enumerate(size):
        counts = np.count_nonzero(size < mine, axis=0) + np.count_nonzero(size <= mine, axis=0)
        twice[i] = np.where(np.isnan(mine), 0, counts + 1)
    return twice


@cache
def _signed_rank_tail(pairs: int) -> Float64Array:
    """P(W >= w) of the signed-rank statistic of so many pairs without effect, w = 0, 1, ….

    The law of W is the convolution of {0, k} with equal probability over the ranks k.
    """
    law = np.ones(1)
    for k in range(1, pairs + 1):
        law = 0.5 * (np.pad(law, (0, k)) + np.pad(law, (k, 0)))
    # From the top down, so that small probabilities are sums of small ones.
    tail = np.cumsum(law[::-1])[::-1]
    tail[0] = 1.0
    return np.asarray(tail)


def _ranked(
    values: Float64Array, member: BoolArray, number: Int64Array, sizes: Int64Array
) -> Float64Array:
    beaten = np.zeros(values.shape[1], dtype=np.int64)
    law = np.ones(1)
    for i, k in enumerate(sizes.tolist()):
        rows = np.flatnonzero(number == i)
        inside = np.take_along_axis(values[rows], member[rows].argmax(axis=0)[None], axis=0)
        beaten += (values[rows] < inside).sum(axis=0)
        law = np.convolve(law, np.full(k, 1 / k))
    # From the top down, so that small probabilities are sums of small ones.
    tail = np.cumsum(law[::-1])[::-1]
    tail[0] = 1.0
    return np.asarray(tail[beaten])


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
            p[at] = scipy.stats.mannwhitneyu(
                block[:n], block[n:], alternative="greater", axis=0, method=method
            ).pvalue
    return p


def smallest(member: BoolArray) -> float:
    """The smallest p that `evidence` can give under a plan: perfect separation.

    >>> smallest(np.array([[1], [0], [1], [0]], dtype=bool))
    0.25
    """
    number = tuples(member)
    sizes = np.bincount(number[number >= 0])
    if sizes.size:
        return float(prod(1 / k for k in sizes.tolist()))
    n_in = member.sum(axis=0)
    return 1 / max(comb(len(member), int(n)) for n in np.unique(n_in))


def benjamini_hochberg(p: Float64Array) -> Float64Array:
    """Adjusted p-values (N,): naming the samples with q <= level controls the *expected* false share.

    q_(i) = min over j >= i of p_(j) N / j (Benjamini and Hochberg 1995). The share of false names
    (0 where none is named) is at most `level` on average over fleets, for independent or positively
    dependent tests. In a single fleet it may be larger, and is in up to about half of them;
    `at_most_false` bounds it there.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    p = given_floats(p, "p")
    order = np.argsort(p, kind="stable")
    n = len(p)
    # N / j first: it is exactly 1 at the end, so that no q falls below its p by rounding.
    raised = p[order] * (n / np.arange(1, n + 1))
    q = np.empty(n)
    q[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return q


def cut_off(p: Float64Array, level: float) -> float:
    """Largest p that Benjamini-Hochberg still accepts at `level`, the expected false share; −1: none.

    >>> cut_off(np.array([0.01, 0.5]), 0.05)
    0.01
    """
    p = given_floats(p, "p")
    ok = p[benjamini_hochberg(p) <= level]
    return float(ok.max()) if ok.size else -1.0


def at_most_false(p: Float64Array, named: BoolArray, level: float = 0.05) -> int:
    """Upper bound on the number of false names among `named`, for this fleet and any set of names.

    With probability at least 1 − level the bound holds for *all* sets at once, so the set may have
    been chosen after looking: by Benjamini-Hochberg, by class, by hand. A name is false when
    training on the sample does not change the law of its signal.

        |S| − max over u = 1..|S| of (1 − u + #{i in S: h pᵢ ≤ u level}), and at most |S|,

    where h is the size of the largest set of samples that Simes' test at `level` accepts: closed
    testing with Simes' local tests. p (N,) of *all* samples that were tested, as of `evidence`;
    named (N,) bool. O(N log N).

    Assumes Simes' inequality for the samples without effect: independent or positively dependent
    p-values. `evidence` gives such, however models differ and whatever references or batches share:
    given the signals, its p-values depend on the plan's own draws alone, and these are independent
    between samples (between groups, where a plan keeps groups together), but for the equal sizes of
    the parts, which vanish as 1/N. `benchmarks/discoveries.py` measures the coverage under model
    effects. Not for p-values computed otherwise from attack scores, which share references.

    Raises InputError for shapes, p outside [0, 1] or a level outside (0, 1). Source: Goeman and
    Solari, Statistical Science 26 (2011); the shortcut: Goeman, Meijer, Krebs and Solari, Biometrika
    106 (2019), after Hommel (1988).

    >>> p = np.array([0.0001, 0.0002, 0.01, 0.04, 0.6])
    >>> [at_most_false(p, p <= cut) for cut in (0.001, 0.01, 0.04, 1.0)]
    [0, 0, 1, 2]
    """
    p, named = given_floats(p, "p"), given_array(named, "named")
    if p.ndim != 1 or named.shape != p.shape or named.dtype != np.bool_:
        raise InputError(
            f"p, named: expected numbers and bools of one shape (N,), got {p.shape} and "
            f"{named.dtype} of shape {named.shape}; pass all tested samples"
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError("p: expected numbers in [0, 1], got others; pass those of evidence")
    if not 0 < level < 1:
        raise InputError(f"level: expected a number between 0 and 1, got {level}; use 0.05")
    chosen = p[named]
    if not chosen.size:
        return 0
    h = _largest_accepted(np.sort(p), level)
    # u: the smallest u with h p <= u level; then how many of the set have at most each.
    need = np.ceil(np.round(h * chosen / level, 9)).astype(np.int64)
    size = chosen.size
    counts = np.bincount(np.clip(need, 1, size + 1), minlength=size + 2)
    reached = np.cumsum(counts[1 : size + 1])
    true = int((1 - np.arange(1, size + 1) + reached).max())
    return size - max(true, 0)


def _largest_accepted(ranked: Float64Array, level: float) -> int:
    """Size of the largest set that Simes' test accepts; ranked p ascending.

    Of all sets of i samples the i largest p are the hardest to reject; if these are accepted, so
    are those of every smaller i, so that a binary search finds the largest.
    """
    low, high = 0, len(ranked)
    while low < high:
        i = (low + high + 1) // 2
        if (i * ranked[len(ranked) - i :] > level * np.arange(1, i + 1)).all():
            low = i
        else:
            high = i - 1
    return low
