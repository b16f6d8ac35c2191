"""How an attack estimates the centre and the spread of a sample's reference signals.

The choices of LiRA as types. Every statistic leaves out the target and its tuple. Which one is
best depends on the number of references: with few of each kind a spread of one's own is noise,
with many a common one is wrong (`docs/attacks.md` has the ladder).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.kernels.lanes import FLOOR
from seepage.attacks.kernels.spreads import (
    CHUNKS,
    MEANS,
    MOMENTS,
    SPREADS,
    SQUARES,
    group_totals,
)
from seepage.attacks.targets import kernel_ready
from seepage.errors import InputError

__all__ = [
    "Centre",
    "Global",
    "Group",
    "Law",
    "Mean",
    "Median",
    "Normal",
    "PerSample",
    "Pooled",
    "Student",
    "StudentT",
    "Variance",
    "fit_laws",
]


TINY = 1e-30  # of a common variance: then nothing varies at all


@dataclass(frozen=True)
class Mean:
    """The mean of the references."""


@dataclass(frozen=True)
class Median:
    """The median, as in LiRA's released code; spreads stay about the mean, as there."""


@dataclass(frozen=True)
class PerSample:
    """Every sample its own spread: Σ (x − x̄)² / (n − ddof), IN and OUT apart.

    LiRA as published, with ddof = 0; it needs some 64 references before it wins. The standard
    deviation is at least 2⁻²² of the larger mean: float32 resolves no less.
    """

    ddof: int = 0


@dataclass(frozen=True)
class Pooled:
    """One spread for all samples, after each sample's own centre is taken off, IN and OUT apart.

    s² = Σᵢ Σᵣ (xᵣᵢ − x̄ᵢ)² / Σᵢ (nᵢ − 1). What TensorFlow Privacy calls fixed variance.
    """


@dataclass(frozen=True)
class Global:
    """One spread for all samples, raw: the variance of all values, IN and OUT apart.

    It holds the differences *between* samples too and so is far too wide; the released LiRA
    script's "fixed variance" is of this kind (and took both sides from IN, which we do not).
    """


@dataclass(frozen=True)
class StudentT:
    """Normal-inverse-gamma prior: the predictive law of a sample is a Student-t.

    μ ~ N(m₀, σ²/κ₀), σ² ~ IG(α₀, β₀). After n references with mean x̄ and squares S:
    κ = κ₀ + n, α = α₀ + n/2, β = β₀ + S/2 + κ₀ n (x̄ − m₀)² / (2κ), and the next value is t with
    2α degrees of freedom, centre (κ₀ m₀ + n x̄)/κ and squared scale β (κ + 1)/(α κ).

    A *reconstruction* of BaVarIA (arXiv 2603.11799), of which the predictive law was known and
    the choice of prior was not. Ours is empirical Bayes over samples, without the target: α₀ and
    β₀ fit the mean and variance of log s², ψ′(α₀) = var(log s²) − ψ′((n−1)/2) (Smyth,
    doi 10.2202/1544-6115.1027); moments of s² itself would follow the few widest samples and blur
    the narrow ones, which are the exposed ones. `alpha` fixes α₀ instead.

    Centres are not shrunk: `kappa` κ₀ = 0. None estimates it as mean s² / variance of the true
    means, with m₀ the mean of means. That helps a little with 2 references and costs a third of
    the TPR at 0.1 % with 32 where narrow samples lie far from m₀, because the prior ties the
    spread of the centres to a sample's own.
    """

    kappa: float | None = 0.0
    alpha: float | None = None

    @property
    def level(self) -> int:
        """Which totals the prior is fitted to: centres that are not shrunk need no means."""
        return SPREADS if self.kappa == 0 else MEANS

    def __post_init__(self) -> None:
        if self.kappa is not None and not self.kappa >= 0:
            raise InputError(f"kappa: expected a number of at least 0, got {self.kappa}")
        if self.alpha is not None and not self.alpha > 0:
            raise InputError(f"alpha: expected a number above 0, got {self.alpha}; 2 is weak")


Centre = Mean | Median
Variance = PerSample | Pooled | Global | StudentT


@dataclass(frozen=True, eq=False)
class Group:
    """Reference values of one kind: x (R, N, A) float64 with 0 where not `mask` (R, N)."""

    x: Float64Array
    mask: BoolArray

    @classmethod
    def of(cls, references: FloatArray, mask: BoolArray) -> Group:
        """The references that `mask` keeps; the others are not read, NaN or not."""
        return cls(np.where(mask[..., None], references, 0.0).astype(np.float64), mask)

    @property
    def n(self) -> Float64Array:
        """References per sample, (N, 1)."""
        return np.asarray(self.mask.sum(axis=0)[:, None], dtype=np.float64)

    @property
    def mean(self) -> Float64Array:
        """Mean per sample and view, (N, A)."""
        return np.asarray(self.x.sum(axis=0) / self.n)

    @property
    def squares(self) -> Float64Array:
        """Sum of squares about the mean, (N, A)."""
        d = np.where(self.mask[..., None], self.x - self.mean, 0.0)
        return np.asarray((d * d).sum(axis=0))

    @property
    def median(self) -> Float64Array:
        """Median per sample and view, (N, A)."""
        return np.asarray(np.nanmedian(np.where(self.mask[..., None], self.x, np.nan), axis=0))


@dataclass(frozen=True, eq=False)
class Normal:
    """N(centre, variance)."""

    centre: Float64Array
    variance: Float64Array

    def log_density(self, x: Float64Array) -> Float64Array:
        """log p(x) in nats."""
        d2 = (x - self.centre) ** 2 / self.variance
        return np.asarray(-0.5 * (d2 + np.log(2 * np.pi * self.variance)))

    def deviate(self, x: Float64Array) -> Float64Array:
        """(x − centre) / scale."""
        return np.asarray((x - self.centre) / np.sqrt(self.variance))


@dataclass(frozen=True, eq=False)
class Student:
    """Student-t with `dof` degrees of freedom and squared scale `scale2` about `centre`."""

    centre: Float64Array
    scale2: Float64Array
    dof: Float64Array

    def log_density(self, x: Float64Array) -> Float64Array:
        """log p(x) in nats."""
        z2 = (x - self.centre) ** 2 / (self.dof * self.scale2)
        constant = special.gammaln((self.dof + 1) / 2) - special.gammaln(self.dof / 2)
        spread = 0.5 * np.log(np.pi * self.dof * self.scale2)
        return np.asarray(constant - spread - (self.dof + 1) / 2 * np.log1p(z2))

    def deviate(self, x: Float64Array) -> Float64Array:
        """(x − centre) / scale."""
        return np.asarray((x - self.centre) / np.sqrt(self.scale2))


Law = Normal | Student


def fit_laws(groups: Sequence[Group], centre: Centre, variance: Variance) -> list[Law]:
    """The law of each group's next value, sample by sample; groups are OUT, or OUT and IN."""
    means = [g.mean for g in groups]
    least = (FLOOR * np.max(np.abs(means), axis=0)) ** 2 + 1e-60
    laws: list[Law] = []
    for g, mean in zip(groups, means, strict=True):
        middle = g.median if isinstance(centre, Median) else mean
        match variance:
            case PerSample(ddof):
                own = g.squares / np.maximum(g.n - ddof, 1)
                laws.append(Normal(middle, np.maximum(own, least)))
            case Pooled():
                several = g.n[:, 0] >= 2
                pooled = g.squares[several].sum(axis=0) / (g.n[several] - 1).sum()
                laws.append(Normal(middle, np.maximum(pooled, TINY)))
            case Global():
                laws.append(Normal(middle, np.maximum(_raw(g), TINY)))
            case StudentT():
                m0, kappa0, alpha0, beta0 = np.moveaxis(prior(_totals(g), variance), -1, 0)
                kappa, alpha = kappa0 + g.n, alpha0 + g.n / 2
                shrunk = kappa0 * g.n / (2 * kappa) * (mean - m0) ** 2
                beta = beta0 + g.squares / 2 + shrunk
                middle = (kappa0 * m0 + g.n * mean) / kappa
                laws.append(Student(middle, beta * (kappa + 1) / (alpha * kappa), 2 * alpha))
    return laws


def _raw(g: Group) -> Float64Array:
    return np.array([g.x[..., a][g.mask].var() for a in range(g.x.shape[2])])


def _totals(g: Group) -> Float64Array:
    """What `group_totals` sums, for one target: (A, MOMENTS), means unshifted."""
    n, several = g.n, g.n[:, 0] >= 2
    s2 = g.squares / np.maximum(n - 1, 1)
    expected, variance = np.moveaxis(chance(len(g.mask))[n[:, 0].astype(np.int64)], -1, 0)
    e = np.log(np.maximum(s2, (FLOOR * g.mean) ** 2 + 1e-60)) - expected[:, None]
    each = [np.ones_like(s2), g.squares, n - 1, g.mean, g.mean**2, s2, 1 / n, e, e**2]
    each.append(variance[:, None])
    return np.stack([np.broadcast_to(x, s2.shape)[several].sum(axis=0) for x in each], axis=-1)


def chance(models: int) -> Float64Array:
    """Expectation and variance of log s² when σ = 1, by the number n of values: (models + 1, 2)."""
    half = (np.maximum(np.arange(models + 1), 2) - 1) / 2
    return np.stack([special.digamma(half) - np.log(half), special.polygamma(1, half)], axis=-1)


def prior(totals: Float64Array, rule: StudentT) -> Float64Array:
    """(..., MOMENTS) -> (..., 4): m₀, κ₀, α₀, β₀."""
    groups, _, _, means, means2, s2, inverse, e, e2, sampling = np.moveaxis(totals, -1, 0)
    centre, within = means / groups, np.maximum(s2 / groups, TINY)
    between = means2 / groups - centre**2 - within * inverse / groups
    kappa = within / np.maximum(between, 1e-6 * within)
    level = e / groups
    alpha = _inverse_trigamma(e2 / groups - level**2 - sampling / groups)
    if rule.kappa is not None:
        kappa = np.full_like(kappa, rule.kappa)
    if rule.alpha is not None:
        alpha = np.full_like(alpha, rule.alpha)
    return np.stack([centre, kappa, alpha, np.exp(level + special.digamma(alpha))], axis=-1)


def _inverse_trigamma(value: Float64Array) -> Float64Array:
    """x with ψ′(x) = value, by Newton's method on 1/ψ′; at most 10⁴, which is one spread for all."""
    value = np.maximum(value, 1e-4)
    x = 0.5 + 1 / value
    for _ in range(50):
        slope = special.polygamma(1, x)
        step = slope * (1 - slope / value) / special.polygamma(2, x)
        x = x + step
        if np.all(np.abs(step) < 1e-12 * x):
            break
    return np.asarray(x)


def all_totals(
    signal: FloatArray, member: BoolArray, drop: Int64Array, level: int
) -> tuple[Float64Array, Float64Array]:
    """Totals of every set left out (E, A, 2, MOMENTS) and the shift (A,) of their means."""
    shift = np.zeros(signal.shape[2])
    if level == MEANS:
        shift = signal.mean(axis=(0, 1), dtype=np.float64)
    out = np.zeros((CHUNKS, signal.shape[2], 2, MOMENTS, len(drop)))
    group_totals(kernel_ready(signal), member, drop, shift, chance(len(member)), level, out)
    return np.moveaxis(out.sum(axis=0), -1, 0), shift


def all_variances(
    signal: FloatArray,
    member: BoolArray,
    drop: Int64Array,
    rule: Pooled | Global,
) -> Float64Array:
    """The common variances without each set left out: (E, A, 2), OUT and IN."""
    if isinstance(rule, Pooled):
        totals, _ = all_totals(signal, member, drop, SQUARES)
        # A group that an offline attack does not read may be empty; its variance is not used.
        return np.maximum(totals[..., 1] / np.maximum(totals[..., 2], 1), TINY)
    models, _, views = signal.shape
    out = np.empty((len(drop), views, 2))
    for g in (0, 1):
        n = np.zeros((models, 1))
        mean, squares = np.zeros((models, views)), np.zeros((models, views))
        for r in range(models):
            x = signal[r][member[r] == g].astype(np.float64)
            if len(x):
                n[r], mean[r] = len(x), x.mean(axis=0)
                squares[r] = ((x - mean[r]) ** 2).sum(axis=0)
        for e, gone in enumerate(drop):
            u = np.delete(np.arange(models), gone[gone >= 0])
            total = max(float(n[u].sum()), 1.0)
            centre = (n[u] * mean[u]).sum(axis=0) / total
            spread = squares[u].sum(axis=0) + (n[u] * (mean[u] - centre) ** 2).sum(axis=0)
            out[e, :, g] = np.maximum(spread / total, TINY)
    return out
