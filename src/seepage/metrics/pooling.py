"""Rates of all targets under one threshold, by selection: from the largest scores of non-members.

What is held is those scores and a row of the rest, so that rows may come one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_floats
from seepage.metrics.unit import EACH, Unit, judged
from seepage.short_repr import short_repr

__all__ = ["PooledRates", "allowed", "counts_above", "given_rates", "pooled_by_target"]


def given_rates(fprs: Sequence[float] | Float64Array) -> Float64Array:
    """Nominal false-positive rates, (F,); raises InputError for others than rates."""
    nominal = given_floats(fprs, "fprs")
    if nominal.ndim != 1 or not ((nominal >= 0) & (nominal <= 1)).all():
        raise InputError(f"fprs: expected rates between 0 and 1, got {fprs}; 0.001 is 0.1 %")
    return nominal


def allowed(fprs: Float64Array, n_out: int) -> Int64Array:
    """j = ⌊α (n + 1)⌋ of every nominal FPR α: the threshold lies above the j-th largest non-member."""
    # The slack is far below one sample; it undoes the rounding of, say, 0.01 · 300 = 2.99…
    return np.floor(fprs * (n_out + 1) + 1e-9).astype(np.int64)


@short_repr
@dataclass(eq=False)
class PooledRates:
    """Rates of R targets under one threshold, whose rows are taken one by one, then counted.

    n_in, n_out: members and non-members of all targets together; nominal (F,). Take every row, in any
    order; then `levels` are known, and what lies above them in each row (`counts_above`) gives the rates.
    """

    nominal: Float64Array
    n_in: int
    n_out: int
    _held: list[Float64Array] = field(default_factory=list)
    _least: float = -np.inf

    def __post_init__(self) -> None:
        if not self.n_in or not self.n_out:
            raise InputError(
                "member: expected members and non-members, got one side; train on halves"
            )

    @property
    def ranks(self) -> Int64Array:
        """Of the threshold among non-members, 1 the largest, by FPR; 0 where it is not resolved: (F,)."""
        return allowed(self.nominal, self.n_out)

    @property
    def asked(self) -> Int64Array:
        """Half, once and twice those ranks, (3, F)."""
        ranks = self.ranks
        return np.stack([ranks // 2, ranks, np.minimum(2 * ranks, self.n_out)])

    @property
    def _count(self) -> int:
        return min(self.n_out, max(1, 2 * int(self.ranks.max(initial=0))))

    @property
    def null(self) -> Float64Array:
        """What noise reads, (F,): as of `pooled_points`."""
        return np.where(self.ranks > 0, self.ranks / (self.n_out + 1), np.nan)

    def take(self, scores: Float64Array, member: BoolArray) -> None:
        """A target's scores (N,): of non-members the largest are kept, as far as anything asks."""
        chosen = ~member
        if self._least > -np.inf:
            chosen &= scores > self._least
        self._held.append(scores[chosen])
        if sum(map(len, self._held)) >= 2 * self._count:
            self._cut()

    def _cut(self) -> None:
        held = np.concatenate(self._held) if self._held else np.empty(0)
        if len(held) > self._count:
            held = np.partition(held, len(held) - self._count)[len(held) - self._count :]
            self._least = float(held.min())
        self._held = [held]

    def levels(self) -> Float64Array:
        """Above the non-member of each rank that is `asked`; of rank 0 nothing, beyond the last all: (3, F)."""
        self._cut()
        outside = np.sort(self._held[0])[::-1]
        at = np.minimum(self.asked, len(outside) + 1)
        return np.append(np.append(np.inf, outside), -np.inf)[at]

    def counted(
        self, tp: Int64Array, fp: Int64Array, n_in: Int64Array, n_out: Int64Array
    ) -> tuple[Int64Array, Int64Array]:
        """Counts above `levels` (R, 3, F), everything where all non-members may pass; n_in, n_out (R,)."""
        beyond = self.asked > self.n_out
        return np.where(beyond, n_in[:, None, None], tp), np.where(beyond, n_out[:, None, None], fp)

    def fpr(self, fp: Int64Array) -> Float64Array:
        """Realised by all targets together, (F,); NaN where not resolved."""
        return np.where(self.ranks > 0, fp[:, 1].sum(axis=0) / self.n_out, np.nan)

    def by_target(self, tp: Int64Array, fp: Int64Array) -> Float64Array:
        """What every target adds to the pooled TPR, (R, F): see `pooled_by_target`."""
        ranks, asked, models = self.ranks, self.asked, len(tp)
        rise = (tp[:, 2] - tp[:, 0]).sum(axis=0) / self.n_in
        width = asked[2] - asked[0]
        slope = np.divide(rise, width / self.n_out, out=np.zeros(len(ranks)), where=width > 0)
        tpr, fpr = models * tp[:, 1] / self.n_in, models * fp[:, 1] / self.n_out
        # Summed column by column, as of one rate alone.
        values = np.asarray(tpr - slope * (fpr - np.ascontiguousarray(fpr.T).mean(axis=1)))
        values[:, (ranks == 0) | (2 * fp[:, 1].sum(axis=0) < ranks - 1)] = np.nan
        return values

    @classmethod
    def whole(
        cls, s: Float64Array, y: BoolArray, fprs: Sequence[float] | Float64Array
    ) -> tuple[PooledRates, Int64Array, Int64Array]:
        """Of all rows (R, N), and their counts of members and non-members (R, 3, F)."""
        n_in = y.sum(axis=1, dtype=np.int64)
        n_out = y.shape[1] - n_in
        found = cls(given_rates(fprs), int(n_in.sum()), int(n_out.sum()))
        for row, inside in zip(s, y, strict=True):
            found.take(row, inside)
        return found, *found.counted(*counts_above(s, y, found.levels()), n_in, n_out)


def counts_above(
    scores: Float64Array, member: BoolArray, levels: Float64Array
) -> tuple[Int64Array, Int64Array]:
    """How many members and non-members of each row lie above each level: (R, N), (R, N) -> (R, *levels).

    >>> tp, fp = counts_above(np.array([[1.0, 2.0, 3.0]]), np.array([[True, False, True]]), np.array([1.5]))
    >>> tp.tolist(), fp.tolist()
    ([[1]], [[1]])
    """
    tp, fp = (np.empty((len(scores), *levels.shape), np.int64) for _ in range(2))
    least = float(levels.min(initial=np.inf))
    for r, (row, inside) in enumerate(zip(scores, member, strict=True)):
        above = row > least
        held, own = row[above], inside[above]
        for counts, side in ((tp, held[own]), (fp, held[~own])):
            ranked = np.sort(side)
            counts[r] = len(ranked) - np.searchsorted(ranked, levels, side="right")
    return tp, fp


def pooled_by_target(
    scores: ArrayLike,
    member: ArrayLike,
    fprs: Sequence[float] | Float64Array = (0.01, 0.001, 0.0001),
    *,
    unit: Unit = EACH,
) -> Float64Array:
    """What every target adds to the pooled TPR, (R, F): their mean is that TPR, exactly.

        value_r = TPR_r − λ (FPR_r − mean FPR)

    with the rates of target r at the threshold of `pooled_points` (each times R n_r/Σ n_r where
    targets differ in size) and λ the slope of the pooled ROC there, the secant from half to twice
    the false positives. `over_targets` of the values is the interval of the pooled TPR: the
    threshold is drawn as well, and a target that raises it lowers the TPR of all. (The spread of
    TPR_r alone, which takes the threshold as given, is too small by up to a factor of 2.7: its
    interval at 95 % covered .75 to .93 with 8 models.) A linear approximation for many false
    positives; single values may lie outside [0, 1]. NaN where the rate is not resolved, and where
    scores tie so that less than half of the false positives that are allowed is realised: scores of
    RMIA are multiples of 1/|population|, and no lower rate is there to be found.

    >>> s = np.array([[0.1, 0.9, 0.4, 0.8], [0.7, 0.2, 0.6, 0.3]])
    >>> m = np.array([[False, True, False, True], [True, False, True, False]])
    >>> pooled_by_target(s, m, [0.5]).ravel().tolist()
    [1.0, 1.0]
    """
    found, tp, fp = PooledRates.whole(*judged(scores, member, 2, unit), fprs)
    return found.by_target(tp, fp)
