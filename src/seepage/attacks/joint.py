"""Confidence joined with a second signal, curvature or another, in one likelihood ratio."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, fields
from typing import ClassVar, Self, final

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks.base import Source
from seepage.attacks.curvature import RESOLUTION, MomentAttack
from seepage.attacks.kernels.densities import COMMON, SHRUNKEN
from seepage.attacks.kernels.elementary import log
from seepage.attacks.kernels.joint import joint_all, joint_sums
from seepage.attacks.targets import Moments, dropped, in_and_out
from seepage.attacks.variance import TINY, PerSample, Pooled
from seepage.errors import InputError
from seepage.native.library import level

__all__ = ["CurvatureAndConfidence", "LiRATwoSignals", "Wishart"]


@dataclass(frozen=True)
class Wishart:
    """Normal-inverse-Wishart prior: the predictive law is a two-dimensional Student-t.

    What `StudentT` is to one signal: μ ~ N(m₀, Σ/κ), Σ ~ inverse Wishart with s + 3 degrees of
    freedom whose mean is the covariance Σ̄ pooled over samples, IN and OUT apart. After n
    references with mean x̄ and scatter S the next value is t with s + n + 2 degrees of freedom,
    centre (κm₀ + n x̄)/(κ + n) and scale (sΣ̄ + S + κn/(κ + n) (x̄ − m₀)(x̄ − m₀)ᵀ)(κ + n + 1) /
    ((κ + n)(s + n + 2)).

    Empirical Bayes by moments over samples: m₀ the mean of means; kappa None: κ = variance within
    over variance of the true means, the geometric mean of both signals; strength None: s = 2 +
    2/cv², cv the coefficient of variation of the true variances, over both signals.
    """

    strength: float | None = None
    kappa: float | None = None

    def __post_init__(self) -> None:
        if self.strength is not None and not 0 < self.strength < np.inf:
            raise InputError(f"strength: expected a positive number, got {self.strength}")
        if self.kappa is not None and not 0 <= self.kappa < np.inf:
            raise InputError(f"kappa: expected a number of at least 0, got {self.kappa}")


Covariance = Wishart | PerSample | Pooled
_LEAST = 1e-10


@dataclass(frozen=True, eq=False)
class _Shared:
    """Sums over samples, for each target and view, of what their covariances have in common."""

    scatter: Float64Array  # (T, 1, A, 2, 2)
    freedom: Float64Array  # (T, 1, 1, 1, 1)
    groups: Float64Array  # (T, 1, 1), samples with two references or more
    variance: Float64Array  # (T, A, 2)
    variance2: Float64Array  # (T, A, 2), of the square, freed of its own sampling noise
    mean: Float64Array  # (T, A, 2)
    mean2: Float64Array  # (T, A, 2), of the square
    inverse: Float64Array  # (T, 1, 1), of 1/n

    @classmethod
    def of(cls, group: Moments) -> _Shared:
        several = group.n >= 2
        freedom = np.maximum(group.n - 1, 0)
        own = np.diagonal(group.scatter, axis1=-2, axis2=-1) / np.maximum(freedom, 1)
        square = own**2 * (freedom / (freedom + 2))
        return cls(
            group.scatter.sum(axis=1, keepdims=True),
            freedom.sum(axis=1, keepdims=True)[..., None],
            several.sum(axis=1).astype(np.float64),
            np.where(several, own, 0.0).sum(axis=1),
            np.where(several, square, 0.0).sum(axis=1),
            np.where(several, group.mean, 0.0).sum(axis=1),
            np.where(several, group.mean**2, 0.0).sum(axis=1),
            np.where(several, 1 / np.maximum(group.n, 1), 0.0).sum(axis=1),
        )

    @classmethod
    def of_sums(cls, sums: Float64Array) -> _Shared:
        """Of one kind's sums from `joint_sums`, (A, 14, T)."""
        by_target = np.moveaxis(sums, -1, 0)  # (T, A, 14)
        groups, freedom, inverse = (by_target[:, :1, i, None] for i in (0, 4, 5))
        pairs = by_target[..., [1, 2, 2, 3]].reshape(*by_target.shape[:2], 2, 2)
        own = [np.stack([by_target[..., 6 + i], by_target[..., 10 + i]], axis=-1) for i in range(4)]
        return cls(
            pairs[:, None],
            freedom[..., None, None],
            groups,
            own[0],
            own[1],
            own[2],
            own[3],
            inverse,
        )

    @classmethod
    def total(cls, parts: list[_Shared]) -> _Shared:
        """Of all samples, from their chunks."""
        return cls(*(sum(getattr(p, f.name) for p in parts) for f in fields(cls)))

    @property
    def covariance(self) -> Float64Array:
        """Pooled covariance, (T, 1, A, 2, 2)."""
        return np.asarray(self.scatter / np.maximum(self.freedom, 1))

    @property
    def centre(self) -> Float64Array:
        """Mean of the samples' means, (T, 1, A, 2)."""
        return np.asarray((self.mean / self.groups)[:, None])

    @property
    def kappa(self) -> Float64Array:
        """How many references the common centre is worth, (T, A)."""
        within = np.maximum(self.variance / self.groups, TINY)
        between = self.mean2 / self.groups - (self.mean / self.groups) ** 2
        between = between - within * self.inverse / self.groups
        return np.asarray(np.exp(np.log(within / np.maximum(between, 1e-6 * within)).mean(axis=-1)))

    @property
    def strength(self) -> Float64Array:
        """How many references the common covariance is worth, (T, A)."""
        mean = np.maximum(self.variance / self.groups, TINY)
        spread = np.maximum(self.variance2 / self.groups / mean**2 - 1, 1e-4).mean(axis=-1)
        return np.asarray(2 + 2 / spread)


@dataclass(frozen=True, eq=False)
class _TwoLaws(MomentAttack, ABC):
    """score(x) = Σ_views log p(φ, s | IN) − log p(φ, s | OUT), s another signal, in nats."""

    covariance: Covariance = field(default_factory=Wishart)
    shared: tuple[_Shared, _Shared] | None = field(default=None, init=False, repr=False)

    threshold: ClassVar[float | None] = 0.0

    @property
    def log_ratio(self) -> bool:
        return True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.covariance == Pooled(released=True):
            raise InputError(
                "covariance: expected Pooled(), got Pooled(released=True), which is of one signal; "
                "choose Pooled()"
            )

    @abstractmethod
    def second(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        """The signal beside φ, on the scale on which its laws are fitted."""

    def features(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        phi = np.asarray(signals["phi"], dtype=np.float64)
        return np.stack([phi, self.second(signals)], axis=-1)

    def common(self, x: Float64Array, member: BoolArray, use: BoolArray) -> Self:
        if isinstance(self.covariance, PerSample):
            return self
        kinds: list[list[_Shared]] = [[], []]
        for _, *groups in in_and_out(x, member, use):
            for kind, group in zip(kinds, groups, strict=True):
                kind.append(_Shared.of(group))
        outside, inside = (_Shared.total(kind) for kind in kinds)
        fitted = copy(self)
        object.__setattr__(fitted, "shared", (outside, inside))
        return fitted

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        # Own covariances may be nearly singular: their sums are not made by taking out.
        if level() == "none" or isinstance(self.covariance, PerSample):
            return super().run_all(signals, member, use)
        values = np.ascontiguousarray(self.features(signals))
        member, drop = np.ascontiguousarray(member), dropped(use)
        out, common = np.empty(member.shape), np.zeros((len(drop.sets), values.shape[2], 2, 7))
        sums = joint_sums(values, member, drop.sets)
        for g in (0, 1):
            shared = _Shared.of_sums(sums[:, g])
            common[:, :, g, 4:] = shared.covariance[:, 0].reshape(*common.shape[:2], 4)[
                ..., [0, 1, 3]
            ]
            if isinstance(self.covariance, Wishart):
                fixed = self.covariance
                common[:, :, g, 0] = shared.strength if fixed.strength is None else fixed.strength
                common[:, :, g, 1] = shared.kappa if fixed.kappa is None else fixed.kappa
                common[:, :, g, 2:4] = shared.centre[:, 0]
        rule = SHRUNKEN if isinstance(self.covariance, Wishart) else COMMON
        joint_all(values, member, drop, rule, common, out)
        return out

    def ratios(self, x: Float64Array, outside: Moments, inside: Moments) -> Float64Array:
        shared = self.shared or (None, None)
        out, within = (self._log(x, g, s) for g, s in zip((outside, inside), shared, strict=True))
        return np.asarray((within - out).sum(axis=-1))

    def _log(self, x: Float64Array, group: Moments, shared: _Shared | None) -> Float64Array:
        """Log density of (T, N, A, 2) under the law of the group: (T, N, A)."""
        n = group.n[..., None]
        centre, dof = group.mean, None
        if isinstance(self.covariance, PerSample):
            scale = group.scatter / np.maximum(n - self.covariance.ddof, 1)
        elif shared is None:
            raise AssertionError("fitted by `common` before")
        elif isinstance(self.covariance, Pooled):
            scale = np.broadcast_to(shared.covariance, group.scatter.shape)
        else:
            rule = self.covariance
            s, k = (
                (found if fixed is None else np.full_like(found, fixed))[:, None, :, None, None]
                for found, fixed in ((shared.strength, rule.strength), (shared.kappa, rule.kappa))
            )
            away = group.mean - shared.centre
            total = np.maximum(k + n, 1e-300)
            spread = away[..., :, None] * away[..., None, :] * (k * n / total)
            dof = (s + n + 2)[..., 0, 0]
            scale = (s * shared.covariance + group.scatter + spread) * (total + 1)
            scale = scale / (total * dof[..., None, None])
            centre = shared.centre + away * (n / total)[..., 0]
        least = (RESOLUTION * group.mean) ** 2 + 1e-60
        a, b, c = (
            scale[..., 0, 0] + least[..., 0],
            scale[..., 0, 1],
            scale[..., 1, 1] + least[..., 1],
        )
        # By conditioning, φ first and then s given φ: exact also when the two nearly coincide.
        slope = b / a
        rest = np.maximum(c - slope * b, 1e-12 * c)
        d = x - centre
        squared = d[..., 0] ** 2 / a + (d[..., 1] - slope * d[..., 0]) ** 2 / rest
        volume = 0.5 * log(a * rest)
        if dof is None:
            return np.asarray(-np.log(2 * np.pi) - volume - squared / 2)
        # In two dimensions Γ(ν/2 + 1)/(Γ(ν/2) ν π) is 1/(2π), whatever ν.
        return np.asarray(-np.log(2 * np.pi) - volume - (dof / 2 + 1) * log(1 + squared / dof))


@final
@dataclass(frozen=True, eq=False)
class CurvatureAndConfidence(_TwoLaws):
    """One likelihood ratio of confidence and log curvature together; higher = member.

        score(x) = Σ_views log p(φ, s | IN) − log p(φ, s | OUT), in nats, s = log curvature

    with two-dimensional laws fitted per sample to the references: covariance Wishart() (default, a
    Student-t shrunk to what samples have in common, as far as the data say), PerSample() (normal, 5
    parameters a side: many references) or Pooled() (normal, one covariance for all samples). The
    target and its tuple are left out of means and of the common covariance. Natural rule score ≥ 0.
    Needs 2 IN and 2 OUT references, PerSample() more than 2.

    Source: ours; the two statistics are those of arXiv 2112.03570 and arXiv 2407.02747. Whether
    the pair tells more than either alone depends on how correlated they are within a class.

    >>> rng = np.random.default_rng(0)
    >>> phi, log_curvature = rng.normal(size=(2, 8, 1))
    >>> member = np.arange(8)[:, None] < 4
    >>> phi = phi + 4 * member
    >>> attack = CurvatureAndConfidence()
    >>> signals = {"phi": phi, "curvature_zo": np.exp(log_curvature)}
    >>> target = {"phi": np.array([4.0]), "curvature_zo": np.array([1.0])}
    >>> attack.score(target, signals, member) > 0
    array([ True])
    """

    name: ClassVar[str] = "curvature-and-confidence"
    title: ClassVar[str] = "Curvature and confidence"
    reference: ClassVar[str] = (
        "Carlini et al., arXiv 2112.03570; Ravikumar et al., arXiv 2407.02747"
    )
    requires: ClassVar[tuple[str, ...]] = ("phi", "curvature_zo")

    def second(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return self.log(signals)


@final
@dataclass(frozen=True, eq=False)
class LiRATwoSignals(_TwoLaws):
    """One likelihood ratio of confidence and a second signal together; higher = member.

        score(x) = Σ_views log p(φ, s | IN) − log p(φ, s | OUT), in nats, s = log(second signal)

    as `CurvatureAndConfidence`, whose laws and options these are, with another signal in place of
    curvature. What is gained over `LiRA` is what the second tells given φ: of two normals that
    membership moves by δ, with the covariance Σ, the AUC is Φ(√(δᵀΣ⁻¹δ/2)). Where the second follows
    from φ alone, as entropies do with two classes, nothing is gained and five parameters a side are
    fitted for two.

    signal: from 0 up, such as "entropy" (default; of recorded logits), "mentr" or a signal of your
    own. Needs 2 IN and 2 OUT references, PerSample() more than 2. Source: ours; the rule is that of
    Carlini et al., arXiv 2112.03570, in two dimensions.

    >>> rng = np.random.default_rng(0)
    >>> phi, other = rng.normal(size=(2, 8, 1))
    >>> member = np.arange(8)[:, None] < 4
    >>> signals = {"phi": phi, "entropy": np.exp(other - 4 * member)}
    >>> target = {"phi": np.array([0.0]), "entropy": np.exp([-4.0])}
    >>> LiRATwoSignals().score(target, signals, member) > 0
    array([ True])
    """

    signal: str = "entropy"

    name: ClassVar[str] = "lira-two-signals"
    title: ClassVar[str] = "LiRA on two signals"
    reference: ClassVar[str] = "Carlini et al., arXiv 2112.03570"
    requires: ClassVar[tuple[str, ...]] = ("phi", "entropy")
    queries: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.signal == "phi":
            raise InputError("signal: expected another one than phi, with which it is read")
        # What the contract keeps on the class is the instance's own, since the signal is an option.
        object.__setattr__(self, "requires", ("phi", self.signal))
        object.__setattr__(self, "title", type(self).title)
        object.__setattr__(self, "access", "scores")

    def bound(self, source: Source) -> Self:
        """The signal is the one that was asked for."""
        return self

    def second(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        """s = log of the signal, which below 1e-10 counts as that."""
        values = np.asarray(signals[self.signal], dtype=np.float64)
        if (values < 0).any():
            raise InputError(
                f"{self.signal}: expected values of at least 0, got {np.nanmin(values):.3g}; read "
                "another signal, or record one that is not signed"
            )
        return log(np.maximum(values, _LEAST))
