"""How much of a set of samples a model was trained on, from any attack's scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.base import Attack, too_few
from seepage.attacks.leaving import how_left_out
from seepage.attacks.population import chosen
from seepage.attacks.reference_counts import reference_rows
from seepage.errors import InputError

__all__ = ["Usage", "usage"]


@dataclass(frozen=True, eq=False)
class Usage:
    """The share of a set that each model was trained on, and an interval for it.

    share (R,): the debiased estimate, which is not cut to 0 … 1; low, high (R,): ends of the interval;
    truth (R,): the share itself, by the plan; level: of the interval; size: samples of the set.
    """

    share: Float64Array
    low: Float64Array
    high: Float64Array
    truth: Float64Array
    level: float
    size: int

    @property
    def covered(self) -> float:
        """The share of models whose interval holds the truth."""
        return float(np.mean((self.low <= self.truth) & (self.truth <= self.high)))


def usage(
    attack: Attack,
    signals: Mapping[str, FloatArray] | FloatArray,
    member: BoolArray,
    subset: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> Usage:
    """Estimate, for every model once, the share of a set that it was trained on; DUCI.

        p̂ = (mean_i m̂_i − FPR) / (TPR − FPR)

    m̂_i whether the attack calls sample i of the set a member, FPR and TPR how often it does so of
    others and of members. The mean of m̂ alone is biased towards ½ by every mistake; p̂ undoes what
    mistakes do on average, and is without bias where rates are known.

    attack: any; signals: what it reads, {name: (R, N[, A])}, as for `Attack.leave_one_out`; member
    (R, N) bool; subset: positions of the set, all samples by default. The threshold, of the largest
    TPR − FPR on the set, and both rates come from the target's references, each of them the target
    of the others. So does the interval: every reference gets an estimate from the others' rates,
    whose distance to its own share has a standard deviation s over the m references, and the
    interval is p̂ ± t(m − 1) s √(1 + 1/m). What models differ by is in it; neither the target's
    members nor those of its tuple are read. It assumes that the target is exchangeable with them but
    for its share, and is too short where that is far from theirs and members vary more than others.

    Needs one tuple more than the attack does, and 3 references. Raises InputError where there are
    fewer, where the plan matches references sample by sample, and where TPR is not above FPR: then
    the attack knows nothing of the set. *Reconstruction* of DUCI (Tong et al., ICLR 2025), of which
    the rule was at hand and the paper was not; the interval is ours. Cost: the attack once for every
    tuple and model.

    >>> from seepage.attacks import LOSS
    >>> from seepage.plan import half_split
    >>> rng = np.random.default_rng(0)
    >>> member = half_split(400, models=16, seed=0).member
    >>> loss = rng.gamma(1.0, size=member.shape) * np.where(member, 0.3, 1.0)
    >>> found = usage(LOSS(), loss, member, np.arange(100))
    >>> bool(abs(found.share - found.truth).mean() < 0.2), found.covered > 0.8
    (True, True)
    """
    if not 0 < level < 1:
        raise InputError(f"level: expected a number between 0 and 1, got {level}; 0.95 is usual")
    read = attack._gather(signals, "signals", axes=2)
    member = attack._member(member, read)
    at = chosen(subset, member.shape[1])
    if len(np.unique(at)) < len(at):
        raise InputError("subset: expected every position once, got some twice")
    if how_left_out(member) in ("matched", "unbalanced"):
        raise InputError(
            "member: expected complementary tuples or independent draws, so that the models beside "
            "a target know nothing of its members; train on half_split"
        )
    use = reference_rows(member)
    own = attack.leave_one_out(read, member)[:, at]
    models = len(member)
    share, half = np.empty(models), np.empty(models)
    sets, which = np.unique(use, axis=0, return_inverse=True)
    for e, kept in enumerate(sets):
        known = member[kept]
        lack = too_few(attack, known)
        if lack is not None:
            raise InputError(f"models: references are scored by {attack.name} too, which {lack}")
        learnt = np.asarray(
            attack._apart({k: v[kept] for k, v in read.items()}, known, reference_rows(known)),
            dtype=np.float64,
        )[:, at]
        truth = known[:, at]
        if len(learnt) < 3:
            raise InputError(f"models: expected at least 3 references, got {len(learnt)}")
        threshold, said = _threshold(learnt, truth)
        away = np.array(
            [
                _share(said[s], np.delete(said, s, 0), np.delete(truth, s, 0)) - truth[s].mean()
                for s in range(len(truth))
            ]
        )
        m = len(truth)
        wide = scipy.stats.t.ppf((1 + level) / 2, m - 1) * np.sqrt(
            (away**2).sum() / (m - 1) * (1 + 1 / m)
        )
        for r in np.flatnonzero(which.ravel() == e):
            share[r], half[r] = _share(own[r] >= threshold, said, truth), wide
    return Usage(share, share - half, share + half, member[:, at].mean(axis=1), level, len(at))


def _threshold(scores: Float64Array, member: BoolArray) -> tuple[float, BoolArray]:
    """The threshold of the largest TPR − FPR, and what it calls a member: (m, n)."""
    flat, truth = scores.ravel(), member.ravel()
    if truth.all() or not truth.any():
        raise InputError("subset: expected members and others among the references, got one kind")
    order: Int64Array = np.argsort(-flat, kind="stable").astype(np.int64)
    inside = np.cumsum(truth[order]) / truth.sum()
    outside = np.cumsum(~truth[order]) / (~truth).sum()
    # Of equal scores all are called alike: only the last of them is a place to stop.
    last = np.append(flat[order][1:] < flat[order][:-1], True)
    best = int(np.argmax(np.where(last, inside - outside, -1.0)))
    if inside[best] - outside[best] <= 0:
        raise InputError("subset: expected TPR above FPR, got an attack that knows nothing of it")
    threshold = float(flat[order[best]])
    return threshold, scores >= threshold


def _share(said: BoolArray, others: BoolArray, member: BoolArray) -> float:
    """p̂ of what is said of one model (n,), by the rates of others (m, n)."""
    tpr, fpr = others[member].mean(), others[~member].mean()
    return float((said.mean() - fpr) / max(tpr - fpr, 1e-9))
