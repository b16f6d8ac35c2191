"""False-positive and true-positive rate of every sample: how often targets call it a member.

Every sample is scored under all targets of a plan: about half of them were trained on it, half were
not. The share of "member" decisions among the former is the sample's true-positive rate, among the
latter its false-positive rate. *Reconstruction*: the rates follow code that the authors of arXiv
2507.23291 published two years before the paper; the paper's own formulas were not available.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seepage.array_types import BoolArray, FloatArray, IntArray
from seepage.attacks.base import Attack
from seepage.errors import InputError
from seepage.given_arrays import given_floats, given_numbers
from seepage.metrics import auc, clopper_pearson
from seepage.plan.counting import how_many
from seepage.plane.rules import Rule
from seepage.short_repr import short_repr

__all__ = [
    "Counting",
    "Points",
    "RateRule",
    "RateSeries",
    "Track",
    "advantage",
    "epsilon",
    "epsilon_two_sided",
    "mean_auc",
    "points",
]


def advantage(fpr: FloatArray, tpr: FloatArray) -> FloatArray:
    """Membership advantage A = TPR − FPR, in [−1, 1]; 0 means no leakage."""
    return given_floats(tpr, "tpr") - given_floats(fpr, "fpr")


def _corrected(rate: FloatArray, trials: ArrayLike) -> FloatArray:
    n = given_floats(trials, "trials")
    if (n <= 0).any():
        raise InputError("trials: expected at least one target of each kind; train more models")
    return given_floats(rate, "rate") + 0.5 / n


def epsilon(fpr: FloatArray, tpr: FloatArray, n_out: ArrayLike, n_in: ArrayLike) -> FloatArray:
    """Privacy loss of a state, in nats: ε = log[(TPR + a) / (FPR + a')].

    a = 1/(2 n_in) and a' = 1/(2 n_out) are continuity corrections of half a target: the raw ratio
    is infinite whenever no target erred. They bound |ε| by log(2n + 1), so values at different
    numbers of models are not comparable. Lines of equal ε pass through the origin.
    *Reconstruction* (arXiv 2507.23291 was not available; the authors' older code divides by
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
    is detected. A point estimate, not a lower bound on a mechanism's ε; `seepage.epsilon` gives
    bounds.
    """
    stay_out = _corrected(1 - given_floats(fpr, "fpr"), n_out)
    stay_in = _corrected(1 - given_floats(tpr, "tpr"), n_in)
    other: FloatArray = np.log(stay_out) - np.log(stay_in)
    return np.maximum(epsilon(fpr, tpr, n_out, n_in), other)


@short_repr
@dataclass(frozen=True, eq=False)
class Points:
    """FPR and TPR of every sample at one checkpoint.

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
        leaks, chance decides which of its two fitted laws has the higher mean, and most targets
        then err in the same direction. The interval holds for these models as references; for the
        rate of a newly trained fleet it is too narrow there (`seepage study studies/rates.toml`
        measures by how much). For counted rates only: closed-form ones are no shares of targets.
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
    """FPR and TPR of every sample, counted over targets.

    TPR_i = Σ_r M_ri b_ri / Σ_r M_ri and FPR_i = Σ_r (1−M_ri) b_ri / Σ_r (1−M_ri).

    decisions b (R, N) bool: did the attack call sample i a member of target r; member M (R, N)
    bool. The decision about target r must not have read M_r; `Attack.leave_one_out` ensures it.
    Raises InputError when the shapes differ or an array is not boolean.

    >>> member = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=bool)
    >>> decisions = np.array([[1, 1], [0, 1], [1, 0], [0, 1]], dtype=bool)
    >>> p = points(decisions, member)
    >>> p.fpr.tolist(), p.tpr.tolist(), p.n_in.tolist()
    ([0.0, 0.5], [1.0, 1.0], [2, 2])
    """
    decisions, member = _matched(decisions, member)
    n_in = how_many(member)
    n_out = len(member) - n_in
    hits_in = how_many(decisions & member)
    hits_out = how_many(decisions) - hits_in
    return Points(_share(hits_out, n_out), _share(hits_in, n_in), n_in, n_out)


def _matched(decisions: BoolArray, member: BoolArray) -> tuple[BoolArray, BoolArray]:
    decisions = given_numbers(decisions, "decisions")
    member = given_numbers(member, "member")
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


@short_repr
@dataclass(frozen=True, eq=False)
class RateSeries:
    """Both rates of every sample at every checkpoint, and what intervals over models need.

    checkpoints (T,) epochs; fpr, tpr (T, N); n_out, n_in (N,) targets counted over; auc (T,) of
    the attack, mean over targets, NaN where it was not asked for; member (R, N) the membership that was used. decisions (T, R,
    ⌈N/8⌉) uint8, packed along samples: what intervals over models resample, or None. turns_out,
    turns_in (T−1, N): targets whose decision about the sample changed between two checkpoints,
    non-members and members apart. jackknife (G, 2, T, N) float32: (FPR, TPR) without each of G
    groups of pairs, for closed-form rates.
    """

    checkpoints: FloatArray
    fpr: FloatArray
    tpr: FloatArray
    n_in: IntArray
    n_out: IntArray
    auc: FloatArray
    member: BoolArray
    decisions: NDArray[np.uint8] | None = None
    turns_in: IntArray | None = None
    turns_out: IntArray | None = None
    jackknife: NDArray[np.float32] | None = None

    @property
    def samples(self) -> int:
        """Size of the pool N."""
        return int(self.fpr.shape[1])

    @property
    def models(self) -> int:
        """Number of targets R."""
        return int(self.member.shape[0])


class Track(Protocol):
    """Collects the rates under one membership, checkpoint by checkpoint."""

    def add(self, t: int, signals: Mapping[str, FloatArray], scores: FloatArray) -> None:
        """Take in checkpoint t: its signals {name: (R, N[, A])} and leave-one-out scores (R, N)."""

    def finish(self) -> dict[str, Any]:
        """Fields of `RateSeries` by name, without checkpoints and member."""


@dataclass(frozen=True)
class RateRule(ABC):
    """How the rates at a checkpoint are computed: `Counting()` or `ClosedForm(...)`."""

    @property
    def requires(self) -> tuple[str, ...]:
        """Signals that it reads in addition to the attack's."""
        return ()

    @abstractmethod
    def start(
        self,
        member: BoolArray,
        checkpoints: int,
        rule: Rule,
        attack: Attack,
        keep: bool,
        area: bool = True,
    ) -> Track:
        """An empty track for membership (R, N); `keep` asks for what intervals need, `area` for `auc`."""


@final
@dataclass(frozen=True)
class Counting(RateRule):
    """Rates by counting decisions over targets, as published: see `seepage.plane.points`."""

    def start(
        self,
        member: BoolArray,
        checkpoints: int,
        rule: Rule,
        attack: Attack,
        keep: bool,
        area: bool = True,
    ) -> Track:
        """An empty track for membership (R, N)."""
        return _Counts(member, checkpoints, rule, attack, keep, area)


class _Counts:
    def __init__(
        self,
        member: BoolArray,
        checkpoints: int,
        rule: Rule,
        attack: Attack,
        keep: bool,
        area: bool,
    ) -> None:
        models, samples = member.shape
        self.member, self.rule, self.attack = member, rule, attack
        self.fpr = np.empty((checkpoints, samples))
        self.tpr = np.empty((checkpoints, samples))
        self.auc = np.full(checkpoints, np.nan)
        self.area = area
        # Counts of at most R ≤ 65,535 targets.
        self.turns_in = np.empty((max(checkpoints - 1, 0), samples), dtype=np.uint16)
        self.turns_out = np.empty_like(self.turns_in)
        self.packed = (
            np.empty((checkpoints, models, -(-samples // 8)), dtype=np.uint8) if keep else None
        )
        self.last: BoolArray | None = None

    def add(self, t: int, signals: Mapping[str, FloatArray], scores: FloatArray) -> None:
        decisions = self.rule.decide(scores, self.member, self.attack)
        state = points(decisions, self.member)
        self.fpr[t], self.tpr[t] = state.fpr, state.tpr
        if self.area:
            self.auc[t] = mean_auc(scores, self.member)
        if self.packed is not None:
            self.packed[t] = np.packbits(decisions, axis=1)
        if self.last is not None:
            turned = decisions ^ self.last
            turned_in = how_many(turned & self.member)
            self.turns_in[t - 1] = turned_in
            self.turns_out[t - 1] = how_many(turned) - turned_in
        self.last = decisions

    def finish(self) -> dict[str, Any]:
        n_in = self.member.sum(axis=0, dtype=np.int64)
        return {
            "fpr": self.fpr,
            "tpr": self.tpr,
            "n_in": n_in,
            "n_out": len(self.member) - n_in,
            "auc": self.auc,
            "decisions": self.packed,
            "turns_in": self.turns_in,
            "turns_out": self.turns_out,
        }


def mean_auc(scores: FloatArray, member: BoolArray) -> float:
    """Mean over targets of the attack's AUC: (R, N), (R, N) -> one number."""
    return float(np.mean([auc(s, y) for s, y in zip(scores, member, strict=True)]))
