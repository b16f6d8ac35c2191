"""A sample's place on the plane: how often the attack says "member", rightly and wrongly.

All targets of a plan judge every sample, about half of them as a member of theirs and half as a
non-member. The two shares are the sample's true-positive and false-positive rate. *Reconstruction*:
the rates follow code that the authors of arXiv 2507.23291 published two years before the paper;
the paper's own formulas were not at hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, FloatArray, IntArray
from seepage.errors import InputError
from seepage.metrics import clopper_pearson

__all__ = [
    "Points",
    "advantage",
    "epsilon",
    "epsilon_two_sided",
    "points",
]


def advantage(fpr: FloatArray, tpr: FloatArray) -> FloatArray:
    """Membership advantage A = TPR − FPR, in [−1, 1]; 0 means no leakage."""
    return np.asarray(tpr, dtype=np.float64) - np.asarray(fpr, dtype=np.float64)


def _corrected(rate: FloatArray, trials: ArrayLike) -> FloatArray:
    n = np.asarray(trials, dtype=np.float64)
    if (n <= 0).any():
        raise InputError("trials: expected at least one target of each kind; train more models")
    return np.asarray(rate, dtype=np.float64) + 0.5 / n


def epsilon(fpr: FloatArray, tpr: FloatArray, n_out: ArrayLike, n_in: ArrayLike) -> FloatArray:
    """Privacy loss of a state, in nats: ε = log[(TPR + a) / (FPR + a')].

    a = 1/(2 n_in) and a' = 1/(2 n_out) are continuity corrections of half a target: the raw ratio
    is infinite whenever no target erred. They bound |ε| by log(2n + 1), so values at different
    numbers of models are not comparable. Lines of equal ε pass through the origin.
    *Reconstruction* (arXiv 2507.23291 was not at hand; the authors' older code divides by
    FPR + 1e-10).

    >>> round(float(epsilon(np.array(0.0), np.array(1.0), 32, 32)), 3)
    4.174
    """
    loss: FloatArray = np.log(_corrected(tpr, n_in)) - np.log(_corrected(fpr, n_out))
    return loss


def epsilon_two_sided(
    fpr: FloatArray, tpr: FloatArray, n_out: ArrayLike, n_in: ArrayLike
) -> FloatArray:
    """max{log TPR/FPR, log (1−FPR)/(1−TPR)} with the continuity corrections of `epsilon`.

    The two hypotheses of differential privacy: the second term catches samples whose *absence*
    shows. A point estimate, not a lower bound on a mechanism's ε; `seepage.epsilon` gives bounds.
    """
    stay_out = _corrected(1 - np.asarray(fpr, dtype=np.float64), n_out)
    stay_in = _corrected(1 - np.asarray(tpr, dtype=np.float64), n_in)
    other: FloatArray = np.log(stay_out) - np.log(stay_in)
    return np.maximum(epsilon(fpr, tpr, n_out, n_in), other)


@dataclass(frozen=True, eq=False)
class Points:
    """Every sample's place on the plane at one checkpoint.

    fpr, tpr (N,) in [0, 1], NaN where no target of that kind exists; n_out, n_in (N,) int64 are
    the targets that each rate was counted over.
    """

    fpr: FloatArray
    tpr: FloatArray
    n_in: IntArray
    n_out: IntArray

    def fpr_interval(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Clopper-Pearson interval of every FPR: (low, high), each (N,).

        Exact for independent targets. Those of one fleet share references: where a sample hardly
        leaks, which of its two laws lies higher is chance, and most targets then err to the same
        side. The interval speaks of these models as references; for the rate that a fresh fleet
        would show it is too narrow there (`seepage study studies/rates.toml` measures by how
        much). For counted rates only: closed-form ones are no shares of targets.
        """
        return clopper_pearson(np.rint(np.nan_to_num(self.fpr) * self.n_out), self.n_out, level)

    def tpr_interval(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Clopper-Pearson interval of every TPR: (low, high), each (N,)."""
        return clopper_pearson(np.rint(np.nan_to_num(self.tpr) * self.n_in), self.n_in, level)

    @property
    def advantage(self) -> FloatArray:
        """TPR − FPR, (N,)."""
        return advantage(self.fpr, self.tpr)

    @property
    def epsilon(self) -> FloatArray:
        """Privacy loss in nats, (N,); see `seepage.plane.epsilon`."""
        return epsilon(self.fpr, self.tpr, self.n_out, self.n_in)

    @property
    def epsilon_two_sided(self) -> FloatArray:
        """Two-sided privacy loss in nats, (N,)."""
        return epsilon_two_sided(self.fpr, self.tpr, self.n_out, self.n_in)

    @property
    def centre(self) -> FloatArray:
        """Centre of mass (2,): the mean (FPR, TPR) over samples that have both rates."""
        both = np.isfinite(self.fpr) & np.isfinite(self.tpr)
        return np.array([self.fpr[both].mean(), self.tpr[both].mean()])


def points(decisions: BoolArray, member: BoolArray) -> Points:
    """Place every sample on the plane by counting decisions over targets.

    TPR_i = Σ_r M_ri b_ri / Σ_r M_ri and FPR_i = Σ_r (1−M_ri) b_ri / Σ_r (1−M_ri).

    decisions b (R, N) bool: did the attack call sample i a member of target r; member M (R, N)
    bool. The decision about target r must not have read M_r; `Attack.leave_one_out` sees to it.
    Raises InputError when the shapes differ or an array is not boolean.

    >>> member = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=bool)
    >>> decisions = np.array([[1, 1], [0, 1], [1, 0], [0, 1]], dtype=bool)
    >>> p = points(decisions, member)
    >>> p.fpr.tolist(), p.tpr.tolist(), p.n_in.tolist()
    ([0.0, 0.5], [1.0, 1.0], [2, 2])
    """
    decisions, member = _matched(decisions, member)
    n_in = member.sum(axis=0, dtype=np.int64)
    n_out = len(member) - n_in
    hits_in = (decisions & member).sum(axis=0, dtype=np.int64)
    hits_out = decisions.sum(axis=0, dtype=np.int64) - hits_in
    return Points(_share(hits_out, n_out), _share(hits_in, n_in), n_in, n_out)


def _matched(decisions: BoolArray, member: BoolArray) -> tuple[BoolArray, BoolArray]:
    decisions, member = np.asarray(decisions), np.asarray(member)
    for name, a in (("decisions", decisions), ("member", member)):
        if a.dtype != np.bool_ or a.ndim != 2:
            raise InputError(
                f"{name}: expected bool of shape (models, samples), got {a.dtype} of shape "
                f"{a.shape}; apply a decision rule first"
            )
    if decisions.shape != member.shape:
        raise InputError(
            f"decisions: expected shape {member.shape} as member has, got {decisions.shape}"
        )
    return decisions, member


def _share(hits: IntArray, trials: IntArray) -> FloatArray:
    out = np.full(np.broadcast_shapes(hits.shape, trials.shape), np.nan)
    np.divide(hits, trials, out=out, where=trials > 0)
    return out
