"""Records of one subject: how alike they are, and what their scores say together.

Log-ratios of records add up where the records are independent given membership. Records of one
person resemble each other, and then their sum is too sure of itself, the more so the more there are
of them: it still ranks subjects of one size, and ranks large ones too far from the middle. With a
correlation ρ between any two records of a subject, n of them count as n / (1 + (n − 1) ρ).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_floats, given_numbers
from seepage.metrics.unit import Subjects
from seepage.plan import partitions

__all__ = [
    "Within",
    "by_target",
    "discounted",
    "distance_of",
    "score_correlation",
    "signal_correlation",
    "subject_auc",
]

# How many times the correlation is estimated, each without a part of the runs.
_FOLDS = 8
_ENOUGH = 8_000
# Sums of larger ones are no numbers.
_LARGEST = 1e150


@dataclass(frozen=True)
class Within:
    """How alike the records of a subject are.

    value: the correlation of two records of one subject, not cut to 0..1; low, high: 95 % over
    subjects; between: of two records of different subjects, NaN where it was not looked at.
    subjects: those with two records or more. All NaN where there are none, or too few runs.
    """

    value: float
    low: float
    high: float
    between: float
    subjects: int

    @classmethod
    def unknown(cls) -> Within:
        """Where nothing could be estimated."""
        nan = float("nan")
        return cls(nan, nan, nan, nan, 0)

    @property
    def used(self) -> float:
        """What sums are discounted by: within 0 to 1, and 0 where it is not known."""
        return float(np.clip(np.nan_to_num(self.value), 0.0, 1.0))


def signal_correlation(signal: ArrayLike, member: ArrayLike, unit: Subjects) -> Within:
    """Correlation of a subject's records over models, given membership: (R, N[, A]), (R, N).

        e_ri = (x_ri − mean of x_i over the runs of the same side as r) / s_i
        ρ = Σ_g Σ_{i ≠ j in g} Σ_r e_ri e_rj / ν_g  /  Σ_g n_g (n_g − 1)

    with s_i² = Σ e²/ν, ν the runs less one for each side. It is the covariance matrix of a subject's
    records over the references, pooled to a single number over sides, pairs of records and
    subjects: a matrix for each subject cannot be had of some tens of runs. signal: φ, or what else
    an attack reads; the mean over views is taken. Records without spread, and subjects of one
    record, do not count.

    Assumes that any two records of any subject are about as alike (compound symmetry); a subject
    whose records are more alike than others' is still overstated. With few runs it is too low, by
    a part of (1 − ρ²)/2ν. `between` includes what moves all records of a model together.

    >>> rng = np.random.default_rng(0)
    >>> own = np.repeat(rng.normal(size=(200, 40)), 3, axis=1)
    >>> signal = np.sqrt(0.4) * own + np.sqrt(0.6) * rng.normal(size=(200, 120))
    >>> member = np.repeat(rng.random((200, 40)) < 0.5, 3, axis=1)
    >>> found = signal_correlation(signal, member, Subjects(np.repeat(np.arange(40), 3)))
    >>> abs(found.value - 0.4) < 0.03, abs(found.between) < 0.01
    (True, True)
    """
    x, m = _given(signal, member)
    parts = _Parts(unit)
    n_in = m.sum(axis=0)
    n_out = len(m) - n_in
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = np.where(m, x, 0.0).sum(axis=0) / n_in
        outside = np.where(m, 0.0, x).sum(axis=0) / n_out
    gap = x - np.where(m, inside, outside)
    freedom = np.maximum(n_in - 1, 0) + np.maximum(n_out - 1, 0)
    variance = (gap**2).sum(axis=0) / np.maximum(freedom, 1)
    # What cancellation leaves of a constant is no spread.
    held = (freedom > 0) & (variance > 1e-24 * (x**2).mean(axis=0))
    scale = np.sqrt(np.where(held, variance * np.maximum(freedom, 1), 1.0))
    e = np.where(held, gap / scale, 0.0)
    of_subject = parts.sums(e)
    own = (of_subject**2).sum(axis=0) - parts.sums((e**2).sum(axis=0))
    k = parts.sums(held.astype(np.float64))
    pairs = k * (k - 1)
    rest = held.sum() * (held.sum() - 1.0) - pairs.sum()
    total = (e.sum(axis=1) ** 2).sum() - (e**2).sum() - own.sum()
    return _ratio(own, pairs, float(total / rest) if rest > 0 else float("nan"))


def score_correlation(scores: ArrayLike, member: ArrayLike, unit: Subjects) -> Within:
    """Correlation of the scores of a subject's records over subjects, as non-members: (R, N), (R, N).

        ρ = Σ_r Σ_g Σ_{i ≠ j in g} d_ri d_rj  /  Σ_r v_r Σ_g n_g (n_g − 1)

    over the subjects g that run r was not trained on, d the score less its mean over their records
    in that run and v_r its variance. It counts what records of a person have in common by
    themselves, such as being hard, which an attack that is not calibrated record by record sees.

    >>> whose = np.repeat(np.arange(300), 2)
    >>> hard = np.random.default_rng(0).normal(size=300)[whose]
    >>> out = np.zeros((2, 600), dtype=bool)
    >>> round(score_correlation(np.stack([hard, hard]), out, Subjects(whose)).value, 2)
    1.0
    """
    s, m = _given(scores, member)
    unit.member(m)
    s = np.clip(s, -_LARGEST, _LARGEST)
    parts = _Parts(unit)
    out = ~m
    count = np.maximum(out.sum(axis=1, keepdims=True), 1)
    d = np.where(out, s - np.where(out, s, 0.0).sum(axis=1, keepdims=True) / count, 0.0)
    scale = np.abs(d).max(axis=1, keepdims=True)
    d = d / np.where(scale > 0, scale, 1.0)
    variance = (d**2).sum(axis=1) / count[:, 0]
    own = (parts.sums(d) ** 2 - parts.sums(d**2)) / np.where(variance > 0, variance, 1.0)[:, None]
    k = parts.sums(out.astype(np.float64)) * (variance > 0)[:, None]
    pairs = np.maximum(k * (k - 1), 0.0)
    return _ratio(own.sum(axis=0), pairs.sum(axis=0), float("nan"))


def by_target(
    values: ArrayLike, member: BoolArray, unit: Subjects, *, scores: bool = False
) -> Float64Array:
    """The correlation that each target's scores are discounted by, (R,), in 0..1.

    It is estimated on the other runs: those of the target's own part of the runs, its whole tuple
    among them, are left out, so that nothing of the target is read. values (R, N[, A]): the signal,
    or, if `scores`, scores. Of a large pool some 8,000 records of whole subjects are looked at. 0 where
    the other runs are too few.
    """
    number = partitions(np.asarray(unit.member(member)))
    fold = np.asarray(number % min(_FOLDS, int(number.max()) + 1))
    estimate = score_correlation if scores else signal_correlation
    at = _some(unit)
    x, member, unit = np.asarray(values)[:, at], member[:, at], Subjects(unit.codes[at])
    found = np.zeros(len(member))
    for k in np.unique(fold):
        rest = fold != k
        if rest.any():
            found[~rest] = estimate(x[rest], member[rest], unit).used
    return found


def discounted(scores: ArrayLike, unit: Subjects, correlation: ArrayLike = 0.0) -> Float64Array:
    """What the scores of a subject's records say together: (..., N) -> (..., G).

        score(g) = Σ score(x) over the n records x of g  /  (1 + (n − 1) ρ)

    With ρ = 0 it is the plain sum, with ρ = 1 the mean. For log-ratios of normal laws of one
    variance whose records have one shift and any two of a subject the correlation ρ, it is the
    log-ratio of all the subject's records together, exactly: Σ⁻¹1 = 1 / (1 + (n − 1) ρ).

    correlation: one number, or one for each row of scores (...,), in 0..1. Scores must have a zero
    of their own, at which a record speaks for neither side, or the size of a subject ranks it.
    Raises InputError for a correlation outside 0..1.

    >>> discounted([1.0, 2.0, 3.0], Subjects(["a", "b", "a"]), 0.5).round(3).tolist()
    [2.667, 2.0]
    """
    rho = given_floats(correlation, "correlation")
    if not ((rho >= 0) & (rho <= 1)).all():
        raise InputError(
            f"correlation: expected numbers in 0..1, got {rho.min():g} to {rho.max():g}; pass 0 "
            "where records are opposed to each other"
        )
    s = given_numbers(scores, "scores").astype(np.float64, copy=False)
    total = np.asarray(unit.scores(np.clip(s, -_LARGEST, _LARGEST)), dtype=np.float64)
    return np.asarray(total / (1 + (unit.sizes - 1) * rho[..., None]))


def subject_auc(
    members: ArrayLike,
    others: ArrayLike,
    distance: float,
    correlation: float = 0.0,
    *,
    discount: bool = True,
) -> float:
    """AUC over subjects where every record's log-ratio is that of normal laws: the closed form.

    members, others: numbers of records of the subjects of each side. distance δ: between the two
    laws of a record, in standard deviations, Φ(δ/√2) being the AUC of single records; correlation
    ρ of any two records of a subject. A subject of n records then has the distance Δ_n,

        Δ_n² = n δ² / (1 + (n − 1) ρ),    AUC = mean over pairs (n, m) of Φ(½ √(Δ_n² + Δ_m²)),

    of the log-ratio; it grows as √n for ρ = 0 and stays below δ/√ρ. discount False: of plain sums,
    Φ(½ δ (n + m) / √(n (1 + (n − 1) ρ) + m (1 + (m − 1) ρ))), the same where ρ = 0 or sizes are one.

    >>> [round(subject_auc([n], [n], 1.0, 0.3), 3) for n in (1, 4, 20)]
    [0.76, 0.848, 0.889]
    """
    n, m = given_floats(members, "members")[:, None], given_floats(others, "others")[None]
    spread_n, spread_m = (k * (1 + (k - 1) * correlation) for k in (n, m))
    if discount:
        apart = np.sqrt(n**2 / spread_n + m**2 / spread_m)
    else:
        apart = (n + m) / np.sqrt(spread_n + spread_m)
    return float(scipy.special.ndtr(distance / 2 * apart).mean())


def distance_of(auc: float) -> float:
    """The distance of two normal laws of one variance that have this AUC: √2 Φ⁻¹(AUC).

    >>> round(distance_of(0.7602), 2)
    1.0
    """
    return float(np.sqrt(2) * scipy.special.ndtri(np.clip(auc, 1e-12, 1 - 1e-12)))


def _some(unit: Subjects) -> Int64Array:
    """Positions of the records by which a correlation is estimated: of subjects that have several."""
    several = np.flatnonzero(unit.sizes > 1)
    if not several.size:
        return np.arange(len(unit.codes))
    if unit.sizes[several].sum() > _ENOUGH:
        # The same ones for every target, whatever the scores.
        several = np.random.default_rng(0).permutation(several)
        several = several[: max(2, int((np.cumsum(unit.sizes[several]) <= _ENOUGH).sum()))]
    return np.flatnonzero(np.isin(unit.codes, several))


class _Parts:
    """Sums over the records of each subject."""

    def __init__(self, unit: Subjects) -> None:
        self.order = np.argsort(unit.codes, kind="stable")
        sizes: Int64Array = unit.sizes
        self.begin = np.cumsum(sizes) - sizes

    def sums(self, values: Float64Array) -> Float64Array:
        return np.asarray(np.add.reduceat(values[..., self.order], self.begin, axis=-1))


def _given(values: ArrayLike, member: ArrayLike) -> tuple[Float64Array, BoolArray]:
    x = given_numbers(values, "signal").astype(np.float64, copy=False)
    x = x.mean(axis=2) if x.ndim == 3 else x
    m = given_numbers(member, "member")
    if x.ndim != 2 or m.shape != x.shape or m.dtype != np.bool_:
        raise InputError(
            f"signal, member: expected floats and bools of one shape (models, samples), got "
            f"{x.shape} and {m.dtype} of shape {m.shape}; pass a truth value per value"
        )
    return x, m


def _ratio(own: Float64Array, pairs: Float64Array, between: float) -> Within:
    """Σ own / Σ pairs, with a jackknife interval over subjects."""
    several = pairs > 0
    count = int(several.sum())
    nan = float("nan")
    if not count:
        return Within.unknown()
    value = float(own.sum() / pairs.sum())
    if count < 2:
        return Within(value, nan, nan, between, count)
    away = (own - value * pairs)[several]
    half = 1.96 * np.sqrt((away**2).sum() * count / (count - 1)) / pairs.sum()
    return Within(value, float(value - half), float(value + half), between, count)
