"""Rates in closed form: the decision's probability under each sample's fitted IN and OUT laws.

Counting decisions gives a rate a standard error of ½/√n at n targets per side. Where the signal's
laws are known up to a location and a scale, the same rate follows from those two numbers, which a
few models fix much better. *Our own proposal*, not a published method: counting stays the default.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import scipy

from seepage.array_types import BoolArray, FloatArray
from seepage.attacks.base import Attack
from seepage.errors import InputError
from seepage.given_arrays import given_floats
from seepage.plan import partitions
from seepage.plane.rates import RateRule, Track, mean_auc
from seepage.plane.rules import GlobalFPR, NaturalThreshold, Rule
from seepage.plane.shrinkage import EmpiricalBayes, Shrinkage
from seepage.short_repr import short_repr

__all__ = [
    "ClosedForm",
    "Gaussian",
    "Law",
    "Laws",
    "StudentTLaw",
]


@dataclass(frozen=True)
class Law(ABC):
    """A family of distributions of a signal: location and scale per sample, for IN and for OUT."""

    @abstractmethod
    def degrees(self, residuals: FloatArray) -> float:
        """Degrees of freedom ν of the family, ∞ for Gaussians, from standardised residuals."""


@final
@dataclass(frozen=True)
class Gaussian(Law):
    """IN ~ N(μ₁, σ₁²), OUT ~ N(μ₀, σ₀²), per sample."""

    def degrees(self, residuals: FloatArray) -> float:
        """∞."""
        return float("inf")


@final
@dataclass(frozen=True)
class StudentTLaw(Law):
    """Student-t with the same degrees of freedom on both sides and for all samples.

    df: ν > 2; None takes the ν in {3, 4, 5, 7, 10, 15, 30, 100} under which the samples'
    standardised residuals, pooled, are likeliest. Scales match the variances: σ² = s²(ν−2)/ν.
    """

    df: float | None = None

    def __post_init__(self) -> None:
        if self.df is not None and not self.df > 2:
            raise InputError(f"df: expected more than 2, got {self.df}; 5 already has heavy tails")

    def degrees(self, residuals: FloatArray) -> float:
        """ν."""
        if self.df is not None:
            return float(self.df)
        z2 = given_floats(residuals, "residuals").ravel() ** 2
        z2 = z2 / z2.mean()
        grid = np.array([3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 30.0, 100.0])
        likely = [
            scipy.special.gammaln((v + 1) / 2)
            - scipy.special.gammaln(v / 2)
            - 0.5 * np.log(v - 2)
            - (v + 1) / 2 * np.log1p(z2 / (v - 2)).mean()
            for v in grid
        ]
        return float(grid[int(np.argmax(likely))])


@short_repr
@dataclass(frozen=True, eq=False)
class Laws:
    """IN and OUT distribution of every sample: means and variances (N,), degrees of freedom `df`.

    n_in, n_out: number of models behind a mean, ∞ when the laws are known exactly.
    """

    mean_in: FloatArray
    var_in: FloatArray
    mean_out: FloatArray
    var_out: FloatArray
    df: float = float("inf")
    n_in: float | FloatArray = float("inf")
    n_out: float | FloatArray = float("inf")

    def region(self, eta: float = 0.0) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Where log p(x | IN) − log p(x | OUT) ≥ η: (low, high, outside), each (N,).

        The interval [low, high] or, where `outside`, its complement. For Gaussians of unequal
        variance the log ratio is a quadratic; for Student-t laws of equal ν the inequality
        (1 + z₀²/ν) ≥ C (1 + z₁²/ν) is one too.
        """
        m0, m1 = self.mean_out, self.mean_in
        s0, s1 = np.sqrt(self._scale2(self.var_out)), np.sqrt(self._scale2(self.var_in))
        # In units of the OUT law, x = m₀ + s₀ u, so that coefficients do not cancel.
        shift, ratio = (m1 - m0) / s0, s1 / s0
        if np.isinf(self.df):
            weight = np.ones_like(ratio)
            rest = 2 * (-np.log(ratio) - eta)
        else:
            weight = np.exp(2 * (eta + np.log(ratio)) / (self.df + 1))
            rest = self.df * (1 - weight)
        inverse = weight / ratio**2
        low, high, outside = _at_least_zero(
            1 - inverse, 2 * shift * inverse, rest - shift**2 * inverse
        )
        return m0 + s0 * low, m0 + s0 * high, outside

    def rates(self, judged: Laws, eta: float = 0.0) -> tuple[FloatArray, FloatArray]:
        """(FPR, TPR), each (N,), of this attack's decision ratio ≥ η under the laws `judged`.

        Gaussian: Φ is taken at (c − x̄)/(s√(1−1/n)), which is unbiased for Φ((c − μ)/σ) at known σ
        (Rao-Blackwell); the plain plug-in estimate is biased towards ½ by the error of the mean.
        """
        low, high, outside = self.region(eta)
        rates = []
        for mean, var, n in (
            (judged.mean_out, judged.var_out, judged.n_out),
            (judged.mean_in, judged.var_in, judged.n_in),
        ):
            scale = np.sqrt(judged._scale2(var))
            if np.isinf(judged.df):
                scale = scale * np.sqrt(1 - 1 / np.maximum(np.asarray(n, dtype=np.float64), 2))
            inside = judged._cdf((high - mean) / scale) - judged._cdf((low - mean) / scale)
            rates.append(np.clip(np.where(outside, 1 - inside, inside), 0, 1))
        return rates[0], rates[1]

    def _scale2(self, variance: FloatArray) -> FloatArray:
        return variance if np.isinf(self.df) else variance * (self.df - 2) / self.df

    def _cdf(self, z: FloatArray) -> FloatArray:
        return np.asarray(
            scipy.special.ndtr(z) if np.isinf(self.df) else scipy.special.stdtr(self.df, z)
        )


def _at_least_zero(
    a: FloatArray, b: FloatArray, c: FloatArray
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Where a u² + b u + c ≥ 0: (low, high, outside), the interval or its complement."""
    low, high = np.full_like(a, np.inf), np.full_like(a, np.inf)
    # a > 0 opens upwards: everything outside the roots; no roots: everything.
    outside = a > 0
    linear = np.abs(a) < 1e-12
    disc = b * b - 4 * a * c
    roots = ~linear & (disc > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # The stable pair: no difference of nearly equal numbers.
        q = -0.5 * (b + np.copysign(np.sqrt(np.where(roots, disc, 0)), b))
        one, two = q / a, np.where(q == 0, 0.0, c / np.where(q == 0, 1.0, q))
        root = -c / b
    low = np.where(roots, np.minimum(one, two), low)
    high = np.where(roots, np.maximum(one, two), high)
    rising, falling = linear & (b > 0), linear & (b < 0)
    low = np.where(rising, root, np.where(falling, -np.inf, low))
    high = np.where(rising, np.inf, np.where(falling, root, high))
    flat = linear & (b == 0)
    outside = np.where(linear, flat & (c >= 0), outside)
    return low, high, outside.astype(np.bool_)


@final
@dataclass(frozen=True)
class ClosedForm(RateRule):
    """Rates of the likelihood-ratio decision under each sample's fitted laws, cross-fitted.

    The attack's laws are fitted on one half of the pairs and evaluated under laws fitted on the
    other; both directions, and `splits` ways to halve up to 8 groups of pairs, are averaged. law:
    `Gaussian()` or `StudentTLaw()`. shrinkage: of variances over samples, on both halves. signal:
    the recorded signal, views averaged. jackknife: also compute the rates without each group of
    pairs, for intervals of population metrics (9 times the work); needs 6 pairs or more.

    The decision is log ratio ≥ 0 under `NaturalThreshold()`; under `GlobalFPR(f)` the one η at
    which the mean fitted FPR is f. Models an attack that has half of the models as references. Only
    as accurate as the fitted laws: bimodal or skewed signals bias it, but do not bias counting.
    Raises InputError with fewer than 4 pairs' worth of models (2 of each side in each half).
    """

    law: Law = field(default_factory=Gaussian)
    shrinkage: Shrinkage = field(default_factory=EmpiricalBayes)
    signal: str = "phi"
    splits: int = 4
    jackknife: bool = True

    def __post_init__(self) -> None:
        if self.splits < 1:
            raise InputError(f"splits: expected at least 1, got {self.splits}; 4 is the default")

    @property
    def requires(self) -> tuple[str, ...]:
        """The signal it fits laws to."""
        return (self.signal,)

    def rates(
        self, values: FloatArray, member: BoolArray, rule: Rule | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """(FPR, TPR), each (N,), from a signal (R, N[, A]) and member (R, N)."""
        moments = _Moments.of(_flat(values), member)
        return self._cross(moments, NaturalThreshold() if rule is None else rule)

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
        return _Fitted(self, member, checkpoints, rule, keep, area)

    def _cross(self, moments: _Moments, rule: Rule) -> tuple[FloatArray, FloatArray]:
        fpr, tpr = [], []
        for half in moments.halves(self.splits):
            one, two = self._fit(moments, half), self._fit(moments, ~half)
            for attack, judged in ((one, two), (two, one)):
                if isinstance(rule, NaturalThreshold):
                    eta = 0.0
                elif isinstance(rule, GlobalFPR):
                    eta = _calibrate(attack, judged, rule.fpr)
                else:
                    raise InputError(
                        "rule: closed-form rates know NaturalThreshold and GlobalFPR, got "
                        f"{rule!r}; use rates=Counting()"
                    )
                rates = attack.rates(judged, eta)
                fpr.append(rates[0])
                tpr.append(rates[1])
        return np.mean(fpr, axis=0), np.mean(tpr, axis=0)

    def _fit(self, moments: _Moments, use: BoolArray) -> Laws:
        means, variances, counts = [], [], []
        for side in range(2):
            n, total, square = (m[side][use].sum(axis=0) for m in moments.sums)
            if (n < 2).any():
                raise InputError(
                    "models: closed-form rates need at least 2 models of each side in each half, "
                    f"got {int(n.min())}; train more models"
                )
            mean = total / n
            means.append(moments.origin + mean)
            variances.append(np.maximum(square - n * mean**2, 0) / (n - 1))
            counts.append(n)
        var_out, var_in = self.shrinkage.shrink(
            variances[0], counts[0] - 1, variances[1], counts[1] - 1
        )
        df = self.law.degrees(moments.residuals)
        return Laws(means[1], var_in, means[0], var_out, df, counts[1], counts[0])


def _flat(values: FloatArray) -> FloatArray:
    values = given_floats(values, "values")
    return values.mean(axis=-1) if values.ndim == 3 else values


def _calibrate(attack: Laws, judged: Laws, fpr: float) -> float:
    """The η at which the mean FPR is `fpr`; it falls as η rises."""
    low, high = -200.0, 200.0
    for _ in range(50):
        middle = (low + high) / 2
        if attack.rates(judged, middle)[0].mean() > fpr:
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True, eq=False)
class _Moments:
    """Counts, sums and sums of squares by side (OUT, IN) and group: (2, G, N) each."""

    origin: FloatArray  # (N,), subtracted so that squares do not cancel
    sums: tuple[FloatArray, FloatArray, FloatArray]
    residuals: FloatArray

    @classmethod
    def of(cls, values: FloatArray, member: BoolArray) -> _Moments:
        tuple_of = partitions(member)
        pairs = int(tuple_of.max()) + 1
        count = max(2, min(8, pairs // 2 * 2))
        parts = tuple_of % count
        origin = values.mean(axis=0)
        x = values - origin
        sums = tuple(np.zeros((2, count, values.shape[1])) for _ in range(3))
        pooled = []
        for side, mask in enumerate((~member, member)):
            for g in range(count):
                rows = parts == g
                m, v = mask[rows], x[rows]
                sums[0][side, g] = m.sum(axis=0)
                sums[1][side, g] = (v * m).sum(axis=0)
                sums[2][side, g] = (v * v * m).sum(axis=0)
            n = np.maximum(sums[0][side].sum(axis=0), 2)
            mean = sums[1][side].sum(axis=0) / n
            sd = np.sqrt(np.maximum(sums[2][side].sum(axis=0) - n * mean**2, 1e-30) / (n - 1))
            # A thousand samples are enough to estimate the weight of the tails.
            few = slice(None, None, max(1, values.shape[1] // 1000))
            pooled.append(((x - mean) / sd)[:, few][mask[:, few]])
        return cls(origin, (sums[0], sums[1], sums[2]), np.concatenate(pooled))

    @property
    def count(self) -> int:
        """Number of groups G, even."""
        return int(self.sums[0].shape[1])

    def halves(self, splits: int) -> list[BoolArray]:
        """Up to `splits` different ways to halve the groups, (G,) bool, spread evenly."""
        others = list(itertools.combinations(range(1, self.count), self.count // 2 - 1))
        chosen = np.unique(np.linspace(0, len(others) - 1, min(splits, len(others))).round())
        halves = []
        for k in chosen.astype(int):
            half = np.zeros(self.count, dtype=np.bool_)
            half[[0, *others[k]]] = True
            halves.append(half)
        return halves

    def without(self, group: int) -> _Moments:
        sums = [m.copy() for m in self.sums]
        for m in sums:
            m[:, group] = 0
        return _Moments(self.origin, (sums[0], sums[1], sums[2]), self.residuals)


class _Fitted:
    def __init__(
        self,
        form: ClosedForm,
        member: BoolArray,
        checkpoints: int,
        rule: Rule,
        keep: bool,
        area: bool,
    ) -> None:
        pairs = int(partitions(member).max()) + 1
        # Leaving a group out must leave two models of each side in its half.
        groups = min(8, pairs // 2 * 2) if keep and form.jackknife and pairs >= 6 else 0
        self.form, self.member, self.rule = form, member, rule
        shape = (checkpoints, member.shape[1])
        self.fpr, self.tpr = np.empty(shape), np.empty(shape)
        self.auc, self.area = np.full(checkpoints, np.nan), area
        self.jackknife = np.empty((groups, 2, *shape), dtype=np.float32) if groups else None

    def add(self, t: int, signals: Mapping[str, FloatArray], scores: FloatArray) -> None:
        moments = _Moments.of(_flat(signals[self.form.signal]), self.member)
        self.fpr[t], self.tpr[t] = self.form._cross(moments, self.rule)
        if self.area:
            self.auc[t] = mean_auc(scores, self.member)
        if self.jackknife is not None:
            for g, rates in enumerate(self.jackknife):
                rates[:, t] = self.form._cross(moments.without(g), self.rule)

    def finish(self) -> dict[str, Any]:
        n_in = self.member.sum(axis=0, dtype=np.int64)
        return {
            "fpr": self.fpr,
            "tpr": self.tpr,
            "n_in": n_in,
            "n_out": len(self.member) - n_in,
            "auc": self.auc,
            "jackknife": self.jackknife,
        }
