"""ROC curves and operating points, by rank, in float64, with ties counted exactly.

Everywhere: higher score = more likely a member, and a threshold says "member" at or above it.
Scores are only ever compared, never squashed: a sigmoid would tie the top of the ranking.
`unit` says what is scored, single samples or whole subjects (`seepage.metrics.Subjects`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_floats
from seepage.metrics.intervals import clopper_pearson, over_partitions
from seepage.metrics.pooling import allowed, given_rates
from seepage.metrics.steps import area, steps
from seepage.metrics.unit import EACH, Unit, judged
from seepage.native.library import contiguous, kernel, over_blocks
from seepage.plan import partitions
from seepage.short_repr import short_repr

__all__ = [
    "AveragedRoc",
    "OperatingPoints",
    "Roc",
    "TprAtFpr",
    "auc",
    "average_roc",
    "balanced_accuracy",
    "operating_points",
    "pooled_points",
    "roc",
    "row_auc",
    "target_aucs",
    "thinned_roc",
    "tpr_at_fpr",
]


def _pair_auc(scores: Float64Array, member: BoolArray) -> Float64Array:
    """Mann-Whitney over models, sample by sample: (R, N), (R, N) -> (N,)."""
    models, samples = scores.shape
    out = np.empty(samples)
    compiled = kernel("pair_auc", "f8", "?", int, int, int, int, "f8")
    if compiled is not None:
        s, y = contiguous(scores, "f8"), contiguous(member, "?")
        over_blocks(lambda a, b: compiled(s, y, models, samples, a, b, out), samples, 4096)
        return out
    for i in range(samples):
        inside, outside = scores[member[:, i], i], np.sort(scores[~member[:, i], i])
        twice = np.searchsorted(outside, inside, "left") + np.searchsorted(outside, inside, "right")
        pairs = inside.size * outside.size
        out[i] = twice.sum() / (2.0 * pairs) if pairs else np.nan
    return out


@short_repr
@dataclass(frozen=True, eq=False)
class Roc:
    """Every operating point: fpr, tpr, thresholds (P,) float64, one point per distinct score.

    The first point is (0, 0) at threshold +inf, the last one (1, 1) at the smallest score.
    """

    fpr: Float64Array
    tpr: Float64Array
    thresholds: Float64Array


@dataclass(frozen=True)
class TprAtFpr:
    """TPR at a threshold whose expected FPR is at or below the nominal one.

    fpr: the share of these non-members that passed. null: the FPR to expect of a further
    non-member, which is also the TPR that noise reads (exact without ties, else an upper bound).
    low, high: Clopper-Pearson interval of the TPR, 95 %, at the given threshold; it does not count
    that the threshold is drawn with the non-members (`seepage.metrics.joint_rates` does).
    resolved: False where there are too few non-members for this rate; the figures are then NaN.
    """

    tpr: float
    fpr: float
    nominal: float
    threshold: float
    low: float
    high: float
    n_in: int
    n_out: int
    null: float
    resolved: bool


@short_repr
@dataclass(frozen=True, eq=False)
class OperatingPoints:
    """Of every target r and nominal FPR f: auc (R,), the other rates (R, F); nominal (F,).

    null (R, F) and resolved (R, F): as in `TprAtFpr`. Where a rate is not resolved, tpr, fpr,
    threshold, low, high and null are NaN.
    """

    auc: Float64Array
    tpr: Float64Array
    fpr: Float64Array
    threshold: Float64Array
    low: Float64Array
    high: Float64Array
    nominal: Float64Array
    n_in: Int64Array
    n_out: Int64Array
    null: Float64Array
    resolved: BoolArray


@short_repr
@dataclass(frozen=True, eq=False)
class AveragedRoc:
    """Vertical average over targets: fpr (G,) the grid, tpr (G,), low and high over tuples (G,)."""

    fpr: Float64Array
    tpr: Float64Array
    low: Float64Array
    high: Float64Array


def _steps(s: Float64Array, y: BoolArray) -> tuple[Int64Array, Int64Array, Float64Array]:
    """Counts (tp, fp) at or above each distinct score, descending, after the point (0, 0)."""
    n_in = int(y.sum())
    if n_in in (0, len(y)):
        raise InputError(
            f"member: expected members and non-members, got {n_in} of {len(y)} True; "
            "a target needs both to be scored"
        )
    order = np.argsort(s)[::-1]
    ranked = s[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    tp = np.cumsum(y[order], dtype=np.int64)[last]
    fp = last + 1 - tp
    zero = np.zeros(1, np.int64)
    return (
        np.concatenate([zero, tp]),
        np.concatenate([zero, fp]),
        np.concatenate([[np.inf], ranked[last]]),
    )


def auc(scores: ArrayLike, member: ArrayLike, *, unit: Unit = EACH) -> float:
    """Area under the ROC: P(member's score > non-member's) + ½ P(equal).

    scores (N,), member (N,) bool. Mann-Whitney with ties, summed in whole numbers. Raises
    InputError on NaN and when one side is missing.

    >>> auc([0.1, 0.4, 0.4, 0.9], np.array([False, False, True, True]))
    0.875
    """
    return area(*judged(scores, member, 1, unit))


def target_aucs(scores: ArrayLike, member: ArrayLike, *, unit: Unit = EACH) -> Float64Array:
    """`auc` of every target: scores, member (R, N) -> (R,), those of `operating_points`.

    >>> target_aucs([[0.1, 0.9], [0.8, 0.2]], np.array([[0, 1], [0, 1]], bool)).tolist()
    [1.0, 0.0]
    """
    s, y = judged(scores, member, 2, unit)
    return np.array([area(one, own) for one, own in zip(s, y, strict=True)])


def roc(scores: ArrayLike, member: ArrayLike, *, unit: Unit = EACH) -> Roc:
    """Every operating point of one target, one per distinct score.

    Equal to scikit-learn's `roc_curve(drop_intermediate=False)`.

    >>> r = roc([0.1, 0.4, 0.4, 0.9], np.array([False, False, True, True]))
    >>> r.fpr.tolist(), r.tpr.tolist()
    ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    tp, fp, thresholds = _steps(*judged(scores, member, 1, unit))
    return Roc(fp / fp[-1], tp / tp[-1], thresholds)


def thinned_roc(
    scores: ArrayLike, member: ArrayLike, points: int = 160, *, unit: Unit = EACH
) -> Roc:
    """About `points` steps of `roc`, even on a logarithmic FPR axis, for plotting; both ends kept.

    Of every rate of a grid from the lowest positive FPR to 1 the last step at or below it, so that
    what is drawn was really reached. scores (N,), member (N,) bool. In memory that does not grow
    with N beyond the scores: `roc` of a hundred million scores takes 2.4 GB.

    >>> r = thinned_roc([0.1, 0.4, 0.4, 0.9], np.array([False, False, True, True]))
    >>> r.fpr.tolist(), r.tpr.tolist()
    ([0.0, 0.5, 1.0], [0.5, 1.0, 1.0])
    """
    s, y = judged(scores, member, 1, unit)

    def most(fewest: int, n_out: int) -> Int64Array:
        grid = np.concatenate([[0.0], np.geomspace(fewest / n_out, 1.0, points)])
        # As many as have a share, as it is rounded, of at most each rate.
        count = np.floor(grid * n_out).astype(np.int64)
        count = np.where((count + 1) / n_out <= grid, count + 1, count)
        return np.asarray(np.where(count / n_out > grid, count - 1, count))

    found = steps(s, y, most, area=False)
    # Ascending in both counts, so that equal neighbours are the same step.
    kept = np.append(True, (np.diff(found.tp) > 0) | (np.diff(found.fp) > 0))
    tpr, fpr = found.tp[kept] / found.n_in, found.fp[kept] / found.n_out
    return Roc(fpr, tpr, found.threshold[kept])


def tpr_at_fpr(scores: ArrayLike, member: ArrayLike, fpr: float, *, unit: Unit = EACH) -> TprAtFpr:
    """TPR at a false-positive rate, with the realised rate, threshold, null and 95 % interval.

    Of n non-members the threshold lies just above the j-th largest, j = ⌊α (n + 1)⌋, so that at
    most j − 1 of them pass. If members and non-members are exchangeable (no leakage), a member
    exceeds that non-member with probability j/(n + 1) ≤ α: this is the FPR to expect of a further
    non-member and what noise reads as its TPR on average, the `null`; ties only make it smaller.
    Nothing is interpolated, because a threshold between two steps does not exist.

    With j = 0, that is n < 1/α − 1, the rate cannot be resolved: the figures are NaN and `resolved`
    is False. (The TPR at no false positive, put in its place, would read noise as 1/(n + 1)
    whatever α was asked for.)

    Peers let ⌊α n⌋ of n pass (the last step at or below α: Privacy Meter, LeakPro, Amulet; strictly
    below: the code of the LiRA paper, MICO) or interpolate between steps (SACRO). Noise then reads
    up to (α n + 1)/(n + 1): 1.1 % for 1 % at 900 and .2 % for .1 % at 1,000 non-members. What they
    give for α is what is given here for (⌊α n⌋ + 1)/(n + 1), at the same realised FPR.

    >>> p = tpr_at_fpr([0.1, 0.2, 0.3, 0.9], np.array([False, True, False, True]), 0.4)
    >>> p.tpr, p.fpr, p.threshold, round(p.null, 3)
    (0.5, 0.0, 0.9, 0.333)
    >>> tpr_at_fpr([0.1, 0.2, 0.3, 0.9], np.array([False, True, False, True]), 0.1).resolved
    False
    """
    s, y = judged(scores, member, 1, unit)
    p = operating_points(s[None], y[None], [fpr])
    return TprAtFpr(
        tpr=float(p.tpr[0, 0]),
        fpr=float(p.fpr[0, 0]),
        nominal=float(fpr),
        threshold=float(p.threshold[0, 0]),
        low=float(p.low[0, 0]),
        high=float(p.high[0, 0]),
        n_in=int(p.n_in[0]),
        n_out=int(p.n_out[0]),
        null=float(p.null[0, 0]),
        resolved=bool(p.resolved[0, 0]),
    )


def operating_points(
    scores: ArrayLike,
    member: ArrayLike,
    fprs: Sequence[float] | Float64Array = (0.01, 0.001, 0.0001),
    *,
    unit: Unit = EACH,
) -> OperatingPoints:
    """AUC and TPR at every nominal FPR, of every target.

    scores, member (R, N): row r is target r. The threshold of each rate is that of `tpr_at_fpr`;
    what cannot be resolved is NaN. Average the columns with `over_targets`.

    >>> p = operating_points([[0.1, 0.9], [0.8, 0.2]], np.array([[0, 1], [0, 1]], bool), [0.5])
    >>> p.auc.tolist(), p.tpr.tolist()
    ([1.0, 0.0], [[1.0], [0.0]])
    """
    s, y = judged(scores, member, 2, unit)
    nominal = given_rates(fprs)
    models, points = len(s), len(nominal)
    areas = np.empty(models)
    tps, fps = np.empty((models, points), np.int64), np.empty((models, points), np.int64)
    threshold = np.empty((models, points))
    beyond = np.empty((models, points), np.int64)
    n_in = y.sum(axis=1).astype(np.int64)
    n_out = y.shape[1] - n_in
    for r in range(models):
        beyond[r] = allowed(nominal, int(n_out[r]))
        found = steps(s[r], y[r], np.maximum(beyond[r] - 1, 0))
        tps[r], fps[r], threshold[r] = found.tp, found.fp, found.threshold
        areas[r] = found.area
    low, high = clopper_pearson(tps, n_in[:, None])
    resolved = beyond > 0

    def known(values: Float64Array) -> Float64Array:
        return np.where(resolved, values, np.nan)

    return OperatingPoints(
        auc=areas,
        tpr=known(tps / n_in[:, None]),
        fpr=known(fps / n_out[:, None]),
        threshold=known(threshold),
        low=known(low),
        high=known(high),
        nominal=nominal,
        n_in=n_in,
        n_out=n_out,
        null=known(beyond / (n_out[:, None] + 1)),
        resolved=resolved,
    )


def pooled_points(
    scores: ArrayLike,
    member: ArrayLike,
    fprs: Sequence[float] | Float64Array = (0.01, 0.001, 0.0001),
    *,
    unit: Unit = EACH,
) -> OperatingPoints:
    """The same with one threshold for all targets: R·N scores pooled into one ROC (R = 1).

    One global threshold asks more of an attack than one per target: scores must be comparable
    between targets. Its Clopper-Pearson intervals count R·N independent trials, which they are
    not (each sample occurs R times): read them as a lower bound of the uncertainty, and take the
    interval from `pooled_by_target`. For the same reason `null` is what noise reads if all scores
    are exchangeable; with shared references it reads a little less.
    """
    s, y = judged(scores, member, 2, unit)
    return operating_points(s.reshape(1, -1), y.reshape(1, -1), fprs)


def average_roc(
    scores: ArrayLike,
    member: ArrayLike,
    grid: Sequence[float] | Float64Array | None = None,
    *,
    unit: Unit = EACH,
) -> AveragedRoc:
    """Vertical average of the targets' ROCs on a log-spaced grid of FPRs, for plotting.

    At each grid value the TPR of every target is that of `tpr_at_fpr`, then averaged; the band is
    that of `over_targets`. Default grid: 1/(n_out + 1), the smallest rate that every target
    resolves, to 1, 25 points a decade.

    >>> a = average_roc([[0.1, 0.9, 0.5]], np.array([[False, True, False]]), [0.5, 1.0])
    >>> a.tpr.tolist()
    [1.0, 1.0]
    """
    s, y = judged(scores, member, 2, unit)
    if grid is None:
        smallest = 1.0 / (1 + max(1, int((~y).sum(axis=1).min())))
        grid = np.geomspace(smallest, 1.0, max(2, int(np.ceil(-25 * np.log10(smallest))) + 1))
    points = operating_points(s, y, given_floats(grid, "grid"))
    number, inside = partitions(y), int(np.count_nonzero(y))
    estimates = [over_partitions(values, number, inside) for values in points.tpr.T]
    return AveragedRoc(
        points.nominal,
        np.array([e.mean for e in estimates]),
        np.array([e.low for e in estimates]),
        np.array([e.high for e in estimates]),
    )


def row_auc(scores: ArrayLike, member: ArrayLike, *, unit: Unit = EACH) -> Float64Array:
    """Per-sample AUC across models: (R, N), (R, N) -> (N,).

    For sample i: the probability that a model trained on i scores i higher than one that was not,
    ties half, over all pairs of models. NaN where a sample is IN all or no models. With R models
    its resolution is 4/R² and, of scores that are independent between models and without leakage,
    its spread about 0.5 is √((R+1)/(3R²)): 0.073 at R = 64.

    Do not feed it scores of a leave-one-out: those of one sample share references. Where IN lies
    above OUT by chance, its members lie high, and each of them is judged by references that lack
    its own share of that chance. On noise leave-one-out LiRA reads .44 to .46 on average from 8 to
    128 models, with a spread of .12 to .13 at 64. Feed it signals: `seepage.metrics.sample_auc`
    does, and adds the interval.

    >>> row_auc([[0.9, 0.1], [0.2, 0.3]], np.array([[True, True], [False, False]])).tolist()
    [1.0, 0.0]
    """
    s, y = judged(scores, member, 2, unit)
    return _pair_auc(s, y)


def balanced_accuracy(
    scores: ArrayLike, member: ArrayLike, threshold: float | None = None
) -> float:
    """½ (TPR + TNR) of the rule score ≥ threshold; scores, member (N,).

    threshold None takes the best threshold on these very samples: an optimistic figure, at least
    ½ even on pure noise, that only serves to compare with papers which report it.

    >>> balanced_accuracy([0.1, 0.9], np.array([False, True]), threshold=0.5)
    1.0
    """
    s, y = judged(scores, member, 1)
    if threshold is None:
        tp, fp, _ = _steps(s, y)
        return float((0.5 * (1 + tp / tp[-1] - fp / fp[-1])).max())
    if y.all() or not y.any():
        raise InputError(
            f"member: expected members and non-members, got {int(y.sum())} of {len(y)} True; "
            "a target needs both to be scored"
        )
    said = s >= threshold
    return float(0.5 * (said[y].mean() + (~said[~y]).mean()))
