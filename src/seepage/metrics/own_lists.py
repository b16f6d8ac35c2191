"""Whether each model's list of members is its own: what its confidence says of other lists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array
from seepage.errors import InputError
from seepage.given_arrays import given_numbers
from seepage.metrics.auc_intervals import auc_interval
from seepage.metrics.mean_ranks import mean_ranks
from seepage.metrics.unit import Subjects

__all__ = ["FALSE_ALARMS", "Misfit", "Moved", "misfits", "moved", "own_auc"]

FALSE_ALARMS = 1e-4
"""In how many fleets without any leakage some list is said not to fit, at most."""

# Of the AUC: what fewer than these differ by is no sign of another list.
_LEAST = 0.02
# A defence may leave members a little less confident than others; an inverted list does more.
_LEAST_INVERTED = 0.05


@dataclass(frozen=True)
class Misfit:
    """A model whose confidence fits another list better than its own.

    model: its row; row: whose list fits best; inverted: whether it is the samples *outside* of that
    list that fit (of the model's own row: its list is inverted). own, there: AUC of its confidence,
    the difficulty of samples removed, for its own list and for that one.
    """

    model: int
    row: int
    inverted: bool
    own: float
    there: float


def misfits(
    confidence: ArrayLike,
    member: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    level: float = FALSE_ALARMS,
) -> tuple[Misfit, ...]:
    """Models whose lists of members are those of other models, or are inverted.

    What training on a sample raises is the model's own confidence in it. Each model's confidence
    is turned into normal scores and regressed on their mean over models, so that the difficulty of
    samples is removed; u are the ranks of what remains. For model r and every other list q, and the
    complement of every list, only samples on which lists r and q disagree are looked at: those that
    q alone claims should have the lower ranks where r's own list is true,

        z = (mean u of q alone − mean u of r alone) / (s √(1/n_q + 1/n_r)),

    s their common standard deviation. A list q is said to fit better where z exceeds the normal
    quantile of level / (2 R²), which pays for all 2 R² comparisons, and the means differ by .02 of
    the ranks (.05 for the complement of the model's own list).

    confidence (R, N): phi, −loss or another number that grows with it; member (R, N) bool; groups
    (N,): whose each sample is; where all lists take groups whole, groups are compared.

    Assumes that lists were drawn without looking at difficulty. Where nothing leaks, nothing is
    seen: lists that are wrong cannot be noticed then, nor can lists that are no model's. One model
    alone is no comparison: () is returned. Raises InputError for shapes that disagree.

    >>> rng = np.random.default_rng(0)
    >>> member = rng.random((4, 300)) < 0.5
    >>> phi = rng.normal(size=300) + 2.0 * member + rng.normal(size=(4, 300))
    >>> misfits(phi, member)
    ()
    >>> [(m.model, m.row, m.inverted) for m in misfits(phi, member[[1, 0, 2, 3]])]
    [(0, 1, False), (1, 0, False)]
    """
    values, lists = given_numbers(confidence, "confidence"), given_numbers(member, "member")
    if values.ndim != 2 or values.shape != lists.shape or lists.dtype != np.bool_:
        raise InputError(
            "confidence, member: expected (models, samples) and bool of the same shape, got "
            f"{values.shape} and {lists.dtype} of {lists.shape}"
        )
    r, n = values.shape
    if r < 2 or n < 4 or np.isnan(values).any():
        return ()
    left = _without_difficulty(values)
    if groups is not None:
        left, lists = _by_group(left, lists, groups)
        n = lists.shape[1]
    return tuple(_found(left, lists, -scipy.special.ndtri(level / (2 * r * r)))) if n >= 4 else ()


@dataclass(frozen=True)
class Moved:
    """Lists that fit where all their rows are counted from another number.

    by: what is to be added to every row that was listed. own, there: mean over models of the AUC of
    their confidence, the difficulty of samples removed, for the lists as they are and so moved.
    """

    by: int
    own: float
    there: float


def moved(confidence: ArrayLike, member: ArrayLike, rows: ArrayLike | None = None) -> Moved | None:
    """Whether all lists fit better by one row on, or one back: rows counted from 1 where 0 is meant.

    For each model the samples are compared that its list claims as it is and moved alone, as in
    `misfits`; what is judged is the mean of z over models, with the deviation that pairs which
    complement each other give it, √(2/R), against the quantile of `FALSE_ALARMS` / 2. A direction in which
    some list would leave the pool is none. Assumes that neighbours in the pool are not drawn together.

    confidence (R, M), higher = surer, of the samples at `rows` (M,), by default all; member (R, N)
    bool. None for one model, and where nothing leaks.

    >>> rng = np.random.default_rng(0)
    >>> member = rng.random((8, 300)) < 0.5
    >>> member[:, 0] = False                        # no list holds row 0: counted from 1?
    >>> phi = rng.normal(size=300) + 2.0 * np.roll(member, -1, axis=1) + rng.normal(size=(8, 300))
    >>> moved(phi, member).by, moved(phi, np.roll(member, -1, axis=1))
    (-1, None)
    """
    values, lists = given_numbers(confidence, "confidence"), given_numbers(member, "member")
    if len(values) < 2 or values.shape[1] < 4 or np.isnan(values).any():
        return None
    ways = [by for by, edge in ((-1, 0), (1, -1)) if not lists[:, edge].any()]
    if not ways:
        return None
    at = np.arange(lists.shape[1]) if rows is None else np.asarray(rows)
    u = mean_ranks(_without_difficulty(values)) / values.shape[1]
    own = lists[:, at].astype(np.float64)
    bar = -scipy.special.ndtri(FALSE_ALARMS / 2) * np.sqrt(2 / len(values))
    best, most = None, 0.0
    for by in ways:
        there = np.roll(lists, by, axis=1)[:, at].astype(np.float64)
        z, apart = _compared(_moments(there * (1 - own), u), _moments(own * (1 - there), u))
        if z.mean() > max(bar, most) and apart.mean() > _LEAST:
            best, most = Moved(by, _mean_auc(own, u), _mean_auc(there, u)), float(z.mean())
    return best


def _moments(chosen: Float64Array, u: Float64Array) -> Float64Array:
    """Count, sum and sum of squares of the chosen: (R, 3)."""
    return np.stack([chosen.sum(1), (chosen * u).sum(1), (chosen * u * u).sum(1)], axis=1)


def _mean_auc(lists: Float64Array, u: Float64Array) -> float:
    """Mean over models of the AUC of ranks u for their lists, where those have two sides."""
    inside, outside = lists.sum(1), (1 - lists).sum(1)
    two = (inside > 0) & (outside > 0)
    means = (lists * u).sum(1)[two] / inside[two] - ((1 - lists) * u).sum(1)[two] / outside[two]
    return float(0.5 + means.mean())


def own_auc(
    confidence: ArrayLike, member: ArrayLike, groups: ArrayLike | None = None
) -> tuple[float, float, float] | None:
    """Mean over models of the AUC of their confidence for their own lists, and an interval of it.

    The difficulty of samples is removed as in `misfits`. Both ends are means of the models' own 95 %
    intervals (`auc_interval`): as wide as if all models erred together, which halves that complement
    each other do.

    confidence, member, groups as in `misfits`. None where fewer than two models are compared, where a
    confidence is not a number, or where every list is whole or empty.

    >>> rng = np.random.default_rng(0)
    >>> member = rng.random((8, 400)) < 0.5
    >>> phi = rng.normal(size=400) + 1.0 * member + rng.normal(size=(8, 400))
    >>> [round(v, 2) for v in own_auc(phi, member)]
    [0.73, 0.68, 0.78]
    >>> low, high = own_auc(phi, member[:, rng.permutation(400)])[1:]
    >>> low < 0.5 < high
    True
    """
    values, lists = given_numbers(confidence, "confidence"), given_numbers(member, "member")
    if len(values) < 2 or np.isnan(values).any():
        return None
    left, lists = _without_difficulty(values), lists.astype(np.bool_)
    if groups is not None:
        left, lists = _by_group(left, lists, groups)
    found = [
        auc_interval(scores, own)
        for scores, own in zip(left, lists, strict=True)
        if own.any() and not own.all()
    ]
    if not found:
        return None
    mean, low, high = np.mean([(e.mean, e.low, e.high) for e in found], axis=0).tolist()
    return mean, low, high


def _without_difficulty(values: Float64Array) -> Float64Array:
    """What of each model's normal scores their mean over models does not explain."""
    scores = scipy.special.ndtri((mean_ranks(values) - 0.5) / values.shape[1])
    mean = scores.mean(axis=0)
    power = float(mean @ mean)
    share = scores @ mean / power if power > 0 else np.zeros(len(scores))
    return np.asarray(scores - share[:, None] * mean, dtype=np.float64)


def _by_group(
    values: Float64Array, lists: BoolArray, groups: ArrayLike
) -> tuple[Float64Array, BoolArray]:
    """Means and lists of groups where every list takes them whole; else the samples."""
    unit = Subjects(np.asarray(groups).tolist())
    first = np.unique(unit.codes, return_index=True)[1]
    whole = lists[:, first]
    if (lists != whole[:, unit.codes]).any():
        return values, lists
    sums = np.stack([np.bincount(unit.codes, weights=v) for v in values])
    return sums / unit.sizes, whole


def _found(left: Float64Array, lists: BoolArray, bar: float) -> list[Misfit]:
    r, n = lists.shape
    u = mean_ranks(left) / n
    u -= u.mean(axis=1, keepdims=True)
    claims = lists.astype(np.float64)
    sizes = claims.sum(axis=1)
    found = []
    for model in range(r):
        own, w = claims[model], u[model]
        parts = np.stack([own, own * w, own * w * w, 1 - own, (1 - own) * w, (1 - own) * w * w])
        # (R, 6): count, sum and sum of squares, within the own list and outside of it.
        both = claims @ parts.T
        rest = parts.sum(axis=1) - both
        z, apart = _compared(np.stack([both[:, 3:], rest[:, 3:]]), np.stack([rest, both])[..., :3])
        least = np.full((2, r), _LEAST)
        least[1, model] = _LEAST_INVERTED
        better = (z > bar) & (apart > least)
        if not better.any():
            continue
        inside = both[:, 1] + both[:, 4]
        with np.errstate(divide="ignore", invalid="ignore"):
            # Ranks sum to zero: mean inside − mean outside.
            auc = 0.5 + inside / sizes + inside / (n - sizes)
        every = np.stack([auc, 1 - auc])
        fits = np.where(better, every, -1.0)
        # In pairs it is the partner's list as well: what is simplest is said.
        fits[1, model] += 1e-9
        side, row = divmod(int(fits.argmax()), r)
        found.append(_misfit(model, row, bool(side), float(auc[model]), float(every[side, row])))
    return found


def _misfit(model: int, row: int, inverted: bool, own: float, there: float) -> Misfit:
    return Misfit(model, row, inverted, own, there)


def _compared(claimed: Float64Array, kept: Float64Array) -> tuple[Float64Array, Float64Array]:
    """z and difference of mean ranks: of what the other list alone claims, and the own one alone."""
    total = claimed + kept
    n = total[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = claimed[..., 1] / claimed[..., 0] - kept[..., 1] / kept[..., 0]
        variance = (total[..., 2] / n - (total[..., 1] / n) ** 2) * n / (n - 1)
        z = apart / np.sqrt(variance * (1 / claimed[..., 0] + 1 / kept[..., 0]))
    return np.nan_to_num(z, nan=0.0, posinf=0.0, neginf=0.0), np.nan_to_num(apart)
