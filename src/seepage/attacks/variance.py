"""How an attack estimates the centre and the spread of a sample's reference signals.

The choices of LiRA as types. Every statistic leaves out the target and its tuple. Which one is
best depends on the number of references: with few of each kind a spread of one's own is noise,
with many a common one is wrong (`docs/attacks.md` has the ladder).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.kernels.lanes import FLOOR
from seepage.attacks.kernels.spreads import MEANS, OFFSET, SPREADS, STILL, WIDTH
from seepage.errors import InputError

__all__ = [
    "DEEP",
    "TINY",
    "Centre",
    "Global",
    "Group",
    "Law",
    "Mean",
    "Median",
    "Normal",
    "PerSample",
    "Pooled",
    "Shrunken",
    "Student",
    "StudentT",
    "Totals",
    "Variance",
    "chance",
    "fit_laws",
    "prior",
    "quartiles_of",
    "unit_of_log",
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
    """One spread for all samples, after each sample's own mean is taken off, IN and OUT apart.

    s² = Σᵢ Σᵣ (xᵣᵢ − x̄ᵢ)² / Σᵢ (nᵢ − 1), view by view. released=True: as TensorFlow Privacy
    computes `fix_variance` (`advanced_mia.compute_score_lira`): the deviations are from each
    sample's centre, the median there unless told otherwise, of all views together, and their
    variance about their own mean has the divisor n. `LiRA(Median(), Pooled(released=True))` gives
    its scores with the sign turned. It is computed target by target, which is slow.
    """

    released: bool = False


@dataclass(frozen=True)
class Global:
    """One spread for all samples, raw: the variance of all values, IN and OUT apart, view by view.

    It holds the differences *between* samples too and so is far too wide. released=True: as the
    released LiRA script computes `fix_variance` (`generate_ours`, `generate_ours_offline`): all
    views together, and, online, the spread of the IN values for both sides. Where every sample has
    equally many references, `LiRA(Median(), Global(released=True))` gives the script's scores with
    the sign turned; it cuts unequal numbers to the smallest, which we do not.
    """

    released: bool = False


@dataclass(frozen=True)
class StudentT:
    """Normal-inverse-gamma prior: the predictive law of a sample is a Student-t.

    μ ~ N(m₀, σ²/κ₀), σ² ~ IG(α₀, β₀). After n references with mean x̄ and squares S:
    κ = κ₀ + n, α = α₀ + n/2, β = β₀ + S/2 + κ₀ n (x̄ − m₀)² / (2κ), and the next value is t with
    2α degrees of freedom, centre (κ₀ m₀ + n x̄)/κ and squared scale β (κ + 1)/(α κ).

    A *reconstruction* of BaVarIA (arXiv 2603.11799), of which the predictive law was known and
    the choice of prior was not. Ours is empirical Bayes over samples, without the target: under
    the prior s² is distributed as s₀² F(n − 1, 2α₀) with s₀² = β₀/α₀, and α₀ and s₀² are those
    whose interquartile range and trimean (q₁ + 2q₂ + q₃)/4 of log s² are the observed ones. Moments of log s², as Smyth has
    them (doi 10.2202/1544-6115.1027), agree on clean data, but a few samples that hardly vary
    take them over; moments of s² itself would follow the few widest samples and blur the narrow
    ones, which are the exposed ones. `alpha` fixes α₀ instead.

    Samples that know nothing of the law of spreads have no weight in the prior: those whose
    references do not vary (by more than 2⁻²⁰ of their mean), and those of which a quarter or more
    of the references, two at least, equal the largest or the smallest value that any reference of
    any sample has, as where a signal is capped or floored. Those that vary by less than one sample
    in a thousand would under the fitted law, or by less than e⁻⁸ times the median, are taken for
    such too, and the fit is repeated without them.

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


@dataclass(frozen=True)
class Shrunken:
    """Every sample's own variance shrunk to the common one; the law stays normal about the mean.

    σ² = (α₀ s₀² + S/2) / (α₀ + n/2), the mean of the common variance s₀² and the sample's own S/n,
    weighted as 2α₀ and n references, IN and OUT apart; α₀ and s₀² as `StudentT` fits them, of which
    it keeps the scale and not the heavy tails. alpha fixes α₀: it tends to `PerSample()` towards 0
    and to one spread for all towards ∞.

    A *reconstruction* of BaVarIA-n (arXiv 2603.11799), "a Gaussian with stabilised variance", of
    which neither the prior nor the moment was read.
    """

    alpha: float | None = None

    def __post_init__(self) -> None:
        StudentT(alpha=self.alpha)

    @property
    def fitted(self) -> StudentT:
        """The rule that finds the prior."""
        return StudentT(alpha=self.alpha)


Centre = Mean | Median
Variance = PerSample | Pooled | Global | StudentT | Shrunken


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
        constant = scipy.special.gammaln((self.dof + 1) / 2) - scipy.special.gammaln(self.dof / 2)
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
    raw = _raw(groups, variance) if isinstance(variance, Global) else []
    for i, (g, mean) in enumerate(zip(groups, means, strict=True)):
        middle = g.median if isinstance(centre, Median) else mean
        match variance:
            case PerSample(ddof):
                own = g.squares / np.maximum(g.n - ddof, 1)
                laws.append(Normal(middle, np.maximum(own, least)))
            case Pooled(released=True):
                off = np.broadcast_to(g.x - middle, g.x.shape)[g.mask]
                laws.append(Normal(middle, np.full_like(middle, max(off.var(), TINY))))
            case Pooled():
                several = g.n[:, 0] >= 2
                pooled = g.squares[several].sum(axis=0) / (g.n[several] - 1).sum()
                laws.append(Normal(middle, np.maximum(pooled, TINY)))
            case Global():
                laws.append(Normal(middle, np.maximum(raw[i], TINY)))
            case Shrunken():
                _, _, alpha0, beta0 = np.moveaxis(prior(Totals.of(g), variance.fitted), -1, 0)
                own = (beta0 + g.squares / 2) / (alpha0 + g.n / 2)
                laws.append(Normal(middle, np.maximum(own, least)))
            case StudentT():
                m0, kappa0, alpha0, beta0 = np.moveaxis(prior(Totals.of(g), variance), -1, 0)
                kappa, alpha = kappa0 + g.n, alpha0 + g.n / 2
                shrunk = kappa0 * g.n / (2 * kappa) * (mean - m0) ** 2
                beta = beta0 + g.squares / 2 + shrunk
                middle = (kappa0 * m0 + g.n * mean) / kappa
                laws.append(Student(middle, beta * (kappa + 1) / (alpha * kappa), 2 * alpha))
    return laws


def _raw(groups: Sequence[Group], rule: Global) -> list[Float64Array]:
    """The variance of all values of each group, (A,)."""
    if not rule.released:
        return [np.array([g.x[..., a][g.mask].var() for a in range(g.x.shape[2])]) for g in groups]
    views = groups[-1].x.shape[2]
    return [np.full(views, groups[-1].x[groups[-1].mask].var())] * len(groups)


@dataclass(frozen=True, eq=False)
class Totals:
    """What a prior is fitted to: sums (..., MOMENTS), and counts of log s² less its expectation.

    cells (..., B): samples in each cell of `WIDTH`, beginning with `lowest` (...), of the logarithm
    less unit (...): that of the squared range of all values, so that nothing depends on the scale
    of the signal. See `group_totals`.
    """

    sums: Float64Array
    cells: Int64Array
    lowest: Int64Array
    unit: Float64Array

    @classmethod
    def of(cls, g: Group) -> Totals:
        """Of one target's group: (A, ...), means unshifted."""
        n = g.n
        s2 = g.squares / np.maximum(n - 1, 1)
        expected, variance = np.moveaxis(chance(len(g.mask))[n[:, 0].astype(np.int64)], -1, 0)
        least = (STILL * g.mean) ** 2 + 1e-60
        telling = (n >= 2) & (s2 > least)
        caps = np.stack(
            [
                np.where(g.mask[..., None], g.x, -np.inf).max(axis=(0, 1)),
                np.where(g.mask[..., None], g.x, np.inf).min(axis=(0, 1)),
            ],
            axis=-1,
        )
        for values in caps.T:
            held = ((g.x == values) & g.mask[..., None]).sum(axis=0)
            telling &= held < np.maximum(2, 0.25 * n)
        unit = unit_of_log(caps)
        at = np.log(np.maximum(s2, least)) - (expected[:, None] + (unit + OFFSET))
        at = at * (1 / WIDTH)
        at = np.where(telling, np.floor(at), 0).astype(np.int64)
        lowest = at.min(axis=0)
        cells = np.zeros((s2.shape[1], int((at - lowest).max()) + 1), dtype=np.int64)
        for a, count in enumerate(cells):
            count += np.bincount((at - lowest)[telling[:, a], a], minlength=len(count))
        each = [np.ones_like(s2), g.squares, n - 1, g.mean, g.mean**2, s2, 1 / n]
        sums = [np.where(telling, x, 0.0).sum(axis=0) for x in (*each, variance[:, None])]
        return cls(np.stack(sums, axis=-1), cells, lowest, unit)


def unit_of_log(caps: Float64Array) -> Float64Array:
    """log of the squared range, 0 of none, from (..., 2) largest and smallest: (...)."""
    span = caps[..., 0] - caps[..., 1]
    varies = (span > 0) & (span < np.inf)
    return np.asarray(2 * np.log(np.where(varies, span, 1.0)))


def quartiles_of(cells: Int64Array, lowest: Int64Array) -> Float64Array:
    """Quartiles from counts in cells (..., B), evenly spread within each: (..., 3); 0 of none."""
    below = np.cumsum(cells, axis=-1)
    total = below[..., -1:]
    found = []
    for share in _SHARES:
        wanted = share * total
        at = (below >= wanted).argmax(axis=-1)[..., None]
        here = np.take_along_axis(cells, at, axis=-1)
        part = wanted - (np.take_along_axis(below, at, axis=-1) - here)
        found.append((at + part / np.maximum(here, 1))[..., 0] + lowest)
    quartiles = OFFSET + WIDTH * np.stack(found, axis=-1)
    return np.where(total > 0, quartiles, 0.0)


def chance(models: int) -> Float64Array:
    """Expectation and variance of log s² when σ = 1, by the number n of values: (models + 1, 2)."""
    half = (np.maximum(np.arange(models + 1), 2) - 1) / 2
    return np.stack(
        [scipy.special.digamma(half) - np.log(half), scipy.special.polygamma(1, half)], axis=-1
    )


# Where α₀ is looked for: from a prior that says next to nothing to one spread for all.
_ALPHAS = np.geomspace(0.02, 1e4, 241)
# The middle of a law from its quartiles: Tukey's trimean.
_SHARES = (0.25, 0.5, 0.75)
_TRIMEAN = np.array([0.25, 0.5, 0.25])
# Spreads so small that one sample in a thousand has them are left out, and the fit is repeated.
# So are those whose log s² is so far below the median.
_HARDLY, DEEP, _ROUNDS = 1e-3, 16.0, 3
# Log of w up to which the first term of the series of the incomplete beta function is all of it.
_TINY_SHARE = -40.0


def prior(totals: Totals, rule: StudentT) -> Float64Array:
    """(...) -> (..., 4): m₀, κ₀, α₀, β₀."""
    groups, _, _, means, means2, s2, inverse, sampling = np.moveaxis(totals.sums, -1, 0)
    count = np.maximum(groups, 1)
    centre, within = means / count, np.maximum(s2 / count, TINY)
    between = means2 / count - centre**2 - within * inverse / count
    kappa = within / np.maximum(between, 1e-6 * within)
    if rule.kappa is not None:
        kappa = np.full_like(kappa, rule.kappa)
    # Where numbers of references differ, the law of log s² is that of the mean sampling noise.
    half = np.round(_inverse_trigamma(np.where(groups > 0, sampling / count, 1.0)), 11)
    cells = totals.cells
    edges = OFFSET + WIDTH * (totals.lowest[..., None] + np.arange(1, cells.shape[-1] + 1))
    for _ in range(_ROUNDS):
        quartiles = quartiles_of(cells, totals.lowest)
        alpha, level, least = _fitted(quartiles, half, rule.alpha)
        least = np.maximum(least, quartiles[..., 1] - DEEP)
        cells = np.where(edges <= least[..., None], 0, totals.cells)
    level = np.where(groups > 0, level + totals.unit, np.log(TINY))
    return np.stack([centre, kappa, alpha, alpha * np.exp(level)], axis=-1)


def _fitted(
    quartiles: Float64Array, half: Float64Array, fixed: float | None
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """α₀, log s₀² and what hardly any log s² lies below, from quartiles (..., 3): (...) each."""
    width, middle = quartiles[..., 2] - quartiles[..., 0], quartiles @ _TRIMEAN
    alpha, level, least = np.empty_like(width), np.empty_like(width), np.empty_like(width)
    for h in np.unique(half).tolist():
        at = half == h
        expected = scipy.special.digamma(h) - np.log(h)
        if fixed is None:
            narrower, middles, lows = _table(h)
            where = np.interp(-width[at], narrower, np.log(_ALPHAS))
            alpha[at] = np.exp(where)
            own, low = (np.interp(where, np.log(_ALPHAS), x) for x in (middles, lows))
        else:
            alpha[at] = fixed
            found = _law(h, alpha[at], (*_SHARES, _HARDLY))
            own, low = _TRIMEAN @ found[:3], found[3]
        level[at] = middle[at] + expected - own
        least[at] = level[at] - expected + low
    return alpha, level, least


@lru_cache(maxsize=1024)
def _table(half: float) -> Float64Array:
    """Of the law at each of `_ALPHAS`: minus its interquartile range, trimean, low quantile: (3, ·)."""
    found = _law(half, _ALPHAS, (*_SHARES, _HARDLY))
    return np.stack([found[0] - found[2], _TRIMEAN @ found[:3], found[3]])


def _law(half: float, alpha: Float64Array, shares: Sequence[float]) -> Float64Array:
    """Quantiles of log F(2 half, 2α), the law of log s²/s₀² under the prior: (shares, alphas)."""
    p = np.asarray(shares)[:, None]
    own = np.log(scipy.special.gammaincinv(half, p) / half)
    # W = α/(α + half F) is Beta(α, half), whose distribution is w^α/(α B(α, half)) where w is tiny.
    log_w = (np.log1p(-p) + np.log(alpha) + scipy.special.betaln(alpha, half)) / alpha
    far = log_w < _TINY_SHARE
    within = np.where(far, 1.0, np.minimum(alpha, 1e6))
    ratio = np.log(scipy.special.fdtri(2 * half, 2 * within, p))
    ratio = np.where(far, np.log(alpha / half) - log_w, ratio)
    # Beyond, the spread is one for all and s² a χ².
    return np.asarray(np.where(alpha > 1e6, own, ratio))


def _inverse_trigamma(value: Float64Array) -> Float64Array:
    """x with ψ′(x) = value, by Newton's method on 1/ψ′; at most 10⁴, which is one spread for all."""
    value = np.maximum(value, 1e-4)
    x = 0.5 + 1 / value
    for _ in range(50):
        slope = scipy.special.polygamma(1, x)
        step = slope * (1 - slope / value) / scipy.special.polygamma(2, x)
        x = x + step
        if np.all(np.abs(step) < 1e-12 * x):
            break
    return np.asarray(x)
