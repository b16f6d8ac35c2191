"""Attacks on the curvature of the loss around a sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self, final

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks.base import Attack, Source
from seepage.attacks.kernels.elementary import log
from seepage.attacks.lira import LiRA
from seepage.attacks.references import AttackR, Calibrated
from seepage.attacks.tails import Empirical, Tail
from seepage.attacks.targets import Moments, in_and_out
from seepage.attacks.thresholds import LOSS
from seepage.attacks.variance import StudentT, Variance
from seepage.errors import InputError

__all__ = [
    "AsPublished",
    "Corrected",
    "CurvatureAttackR",
    "CurvatureCalibrated",
    "CurvatureLR",
    "CurvatureMAST",
    "CurvatureNLL",
    "CurvatureThreshold",
    "MomentAttack",
]


TINY = 1e-22  # what the released code adds to curvatures, variances and denominators
# What is read when the signal of the released code was not recorded: norms before a trace, which
# may be negative when it is sampled.
INSTEAD = ("curvature_zo", "curvature_frobenius", "curvature_fd", "curvature_trace")
RESOLUTION = 2.0**-22  # float32 signals resolve no smaller share of their mean


@dataclass(frozen=True)
class Corrected:
    """Standard deviations where they belong, log-ratios, views multiplied.

    variance: how spreads are estimated, as in `LiRA`; CurvatureNLL has its own.
    """

    variance: Variance = field(default_factory=StudentT)


@dataclass(frozen=True)
class AsPublished:
    """As the released code of arXiv 2407.02747 computes it, deviations and all."""


Form = Corrected | AsPublished


@dataclass(frozen=True, eq=False)
class _Curvature(Attack, ABC):
    """What all share: which signal is read, and its logarithm."""

    signal: str = "curvature_zo"

    requires: ClassVar[tuple[str, ...]] = ("curvature_zo",)
    aligns: ClassVar[bool] = True
    queries: ClassVar[int] = 41

    def __post_init__(self) -> None:
        # What the contract keeps on the class is the instance's own, since the signal is an option.
        own = tuple(self.signal if k == "curvature_zo" else k for k in type(self).requires)
        object.__setattr__(self, "requires", own)
        if self.signal != "curvature_zo":
            kind = self.signal.removeprefix("curvature_")
            object.__setattr__(self, "title", f"{type(self).title} ({kind})")
            object.__setattr__(self, "access", "weights")
            object.__setattr__(self, "queries", 1)

    def bound(self, source: Source) -> Self:
        """Reading the curvature that was recorded, when its own signal was not."""
        if self.signal not in source.signals:
            for signal in INSTEAD:
                if signal in source.signals:
                    return replace(self, signal=signal)
        return self

    def log(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        """s = log(curvature + 1e-22), float64."""
        c = np.asarray(signals[self.signal], dtype=np.float64)
        if (c < 0).any():
            raise InputError(
                f"{self.signal}: expected curvatures of at least 0, got {np.nanmin(c):.3g}; "
                "read a norm or the trace of ExactGaussNewton, not a signed trace"
            )
        return log(c + TINY)


@dataclass(frozen=True, eq=False)
class _RuleOfLoss(_Curvature, ABC):
    """A rule for losses, given log curvature instead."""

    @property
    @abstractmethod
    def rule(self) -> Attack:
        """The attack on losses."""

    @property
    def by_sample(self) -> bool:
        return self.rule.by_sample

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        loss = {"loss": self.log(references)}
        return self.rule.run({"loss": self.log(target)}, loss, member)

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        return self.rule.run_all({"loss": self.log(signals)}, member, use)


@final
@dataclass(frozen=True, eq=False)
class CurvatureThreshold(_RuleOfLoss):
    """score(x) = −log(curvature + 1e-22) of view 0; higher = more likely a member.

    Members tend to lie where the loss is flat. Needs no references. Applies the rule of Yeom et
    al., arXiv 1709.01604, to curvature; not in the released code of arXiv 2407.02747. Source: the
    signal is theirs, the use of it here ours.

    >>> CurvatureThreshold().score(np.array([1.0]), np.zeros((1, 1)), np.zeros((1, 1), bool)) + 0
    array([0.])
    """

    name: ClassVar[str] = "curvature"
    title: ClassVar[str] = "Input curvature"
    reference: ClassVar[str] = "Ravikumar et al., arXiv 2407.02747"
    first_view: ClassVar[bool] = True

    @property
    def rule(self) -> Attack:
        return LOSS()


@final
@dataclass(frozen=True, eq=False)
class CurvatureCalibrated(_RuleOfLoss):
    """score(x) = mean over views of (μ_out − s), s = log curvature; higher = member.

    How much flatter the loss is than around models that did not see the sample. IN entries of the
    references are not read. Needs 1 OUT reference. Source: the rule of Watson et al., arXiv
    2111.08440, applied to curvature by us.

    >>> references = np.exp([[2.0], [1.0]])
    >>> s = CurvatureCalibrated().score(np.exp([0.5]), references, np.zeros((2, 1), bool))
    >>> s.round(6).tolist()
    [1.0]
    """

    name: ClassVar[str] = "curvature-calibrated"
    title: ClassVar[str] = "Curvature, calibrated"
    reference: ClassVar[str] = "Watson et al., arXiv 2111.08440"
    min_out: ClassVar[int] = 1

    @property
    def rule(self) -> Attack:
        return Calibrated()


@final
@dataclass(frozen=True, eq=False)
class CurvatureAttackR(_RuleOfLoss):
    """Where the log curvature stands among those of OUT references: score = −log F̂ₓ(s).

    As `AttackR`, on view 0; "score ≥ −log α" has FPR α sample by sample. IN entries of the
    references are not read. Needs 2 OUT references. Source: the rule of Ye et al., arXiv
    2111.09679, applied to curvature by us.

    >>> references = np.exp([[1.0], [2.0], [3.0]])
    >>> s = CurvatureAttackR().score(np.exp([1.5]), references, np.zeros((3, 1), bool))
    >>> np.exp(-s).round(3).tolist()
    [0.375]
    """

    # Anchors on the log scale: 1e-22 is −50.7.
    tail: Tail = field(default_factory=lambda: Empirical(low=-60.0, high=60.0))

    name: ClassVar[str] = "curvature-attack-r"
    title: ClassVar[str] = "Curvature, Attack-R"
    reference: ClassVar[str] = "Ye et al., arXiv 2111.09679"
    first_view: ClassVar[bool] = True
    min_out: ClassVar[int] = 2

    @property
    def rule(self) -> Attack:
        return AttackR(self.tail)


@dataclass(frozen=True, eq=False)
class MomentAttack(_Curvature, ABC):
    """Attacks that need the means and spreads of IN and OUT references, and nothing else."""

    min_in: ClassVar[int] = 2
    min_out: ClassVar[int] = 2

    def features(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        """What the laws are about: (..., N, A, D)."""
        return self.log(signals)[..., None]

    @abstractmethod
    def ratios(self, x: Float64Array, outside: Moments, inside: Moments) -> Float64Array:
        """Targets (…, T, N, A, D) and the two groups that T of them see alike -> scores (…, T, N)."""

    def common(self, x: Float64Array, member: BoolArray, use: BoolArray) -> Self:
        """The attack with what it takes from all samples together."""
        return self

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        one = {k: v[None] for k, v in target.items()}
        everyone = np.ones((1, len(member)), dtype=np.bool_)
        x = self.features(references)
        return np.asarray(self._all(self.features(one), x, member, everyone)[0])

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        x = self.features(signals)
        return self._all(x, x, member, use)

    def _all(
        self, x: Float64Array, references: Float64Array, member: BoolArray, use: BoolArray
    ) -> Float64Array:
        # Targets of a tuple have the same references, whose moments are needed once.
        sets, which = np.unique(use, axis=0, return_inverse=True)
        if len(np.unique(np.bincount(which.reshape(-1)))) == 1:
            targets = np.argsort(which.reshape(-1), kind="stable").reshape(len(sets), -1).T
        else:
            sets, targets = use, np.arange(len(use))[None]
        fitted = self.common(references, member, sets)
        out = np.empty(x.shape[:2])
        for part, outside, inside in in_and_out(references, member, sets):
            out[:, part][targets] = fitted.ratios(x[:, part][targets], outside, inside)
        return out


@final
@dataclass(frozen=True, eq=False)
class CurvatureMAST(MomentAttack):
    """score(x) = mean over views of (μ_in + μ_out)/2 − s, s = log curvature; higher = member.

    The midpoint between the models that saw the sample and those that did not; natural rule
    score ≥ 0. Needs 1 IN and 1 OUT reference. Source: the rule of Sablayrolles et al., arXiv
    1908.11229, applied to curvature by us.

    >>> references, member = np.exp([[1.0], [3.0]]), np.array([[True], [False]])
    >>> CurvatureMAST().score(np.exp([1.5]), references, member).round(6).tolist()
    [0.5]
    """

    name: ClassVar[str] = "curvature-mast"
    title: ClassVar[str] = "Curvature, MAST"
    reference: ClassVar[str] = "Sablayrolles et al., arXiv 1908.11229"
    min_in: ClassVar[int] = 1
    min_out: ClassVar[int] = 1
    threshold: ClassVar[float | None] = 0.0

    def ratios(self, x: Float64Array, outside: Moments, inside: Moments) -> Float64Array:
        middle = (outside.mean + inside.mean) / 2
        return np.asarray((middle - x)[..., 0].mean(axis=-1))


@final
@dataclass(frozen=True, eq=False)
class CurvatureNLL(MomentAttack):
    """Equal-variance discriminant of log curvature; higher = more likely a member.

        score(x) = Σ_views (μ_in − μ_out) (s − (μ_in + μ_out)/2) / V

    with s = log(curvature + 1e-22). `Corrected`: V the within-class variance of the sample's IN
    and OUT references together, (S_in + S_out)/(n_in + n_out − 2), so that the score is the
    log-ratio of two normals of one variance. Its own variances give `CurvatureLR`; the `variance`
    of Corrected is not read. `AsPublished`: V = V_in², the squared IN variance: the released code
    plugs the variance in for the standard deviation, and V_in for both classes. Natural rule
    score ≥ 0. Needs 2 IN and 2 OUT references.

    Source: Ravikumar, Soufleri & Roy, arXiv 2407.02747, "Curv ZO NLL", read from released code.

    >>> references = np.exp([[1.0], [2.0], [5.0], [6.0]])
    >>> member = np.array([[True], [True], [False], [False]])
    >>> CurvatureNLL().score(np.exp([1.5]), references, member).round(6).tolist()
    [16.0]
    >>> CurvatureNLL(form=AsPublished()).score(np.exp([1.5]), references, member).round(6).tolist()
    [128.0]
    """

    form: Form = field(default_factory=Corrected)

    name: ClassVar[str] = "curvature-nll"
    title: ClassVar[str] = "Curvature, equal variance"
    reference: ClassVar[str] = "Ravikumar et al., arXiv 2407.02747"
    threshold: ClassVar[float | None] = 0.0

    @property
    def log_ratio(self) -> bool:
        return isinstance(self.form, Corrected)

    def ratios(self, x: Float64Array, outside: Moments, inside: Moments) -> Float64Array:
        mu_in, mu_out = inside.mean[..., 0], outside.mean[..., 0]
        if isinstance(self.form, AsPublished):
            spread = (inside.variance + TINY) ** 2
        else:
            total = inside.scatter[..., 0, 0] + outside.scatter[..., 0, 0]
            count = np.maximum(inside.n + outside.n - 2, 1)[..., 0]
            least = (RESOLUTION * np.maximum(np.abs(mu_in), np.abs(mu_out))) ** 2 + 1e-60
            spread = np.maximum(total / count, least)
        return np.asarray(
            ((mu_in - mu_out) * (x[..., 0] - (mu_in + mu_out) / 2) / spread).sum(axis=-1)
        )


@final
@dataclass(frozen=True, eq=False)
class CurvatureLR(MomentAttack):
    """Likelihood ratio of log curvature under IN and OUT references; higher = member.

    `Corrected(variance)`: Σ over views of log p(s | IN) − log p(s | OUT), in nats, the laws
    fitted as `LiRA` fits those of confidence; natural rule score ≥ 0. `AsPublished`: as the
    released code has it, Σ_views p(s | IN) / (Σ_views p(s | OUT) + 1e-22) with normal densities
    whose *standard deviation* is the references' *variance* (divisor n, plus 1e-22): densities
    are summed over views, not multiplied, and the score is a ratio, natural rule score ≥ 1. Far
    from both laws it is 0 or a ratio of roundings: many ties. Needs 2 IN and 2 OUT references.

    Source: Ravikumar, Soufleri & Roy, arXiv 2407.02747, "Curv ZO LR", read from released code
    (its ImageNet variant sets the deviation to 1 and is not offered).

    >>> references = np.exp([[1.0], [2.0], [5.0], [6.0]])
    >>> member = np.array([[True], [True], [False], [False]])
    >>> from seepage.attacks.variance import PerSample
    >>> attack = CurvatureLR(form=Corrected(PerSample()))
    >>> attack.score(np.exp([1.5]), references, member).round(6).tolist()
    [32.0]
    """

    form: Form = field(default_factory=Corrected)

    name: ClassVar[str] = "curvature-lr"
    title: ClassVar[str] = "Curvature, likelihood ratio"
    reference: ClassVar[str] = "Ravikumar et al., arXiv 2407.02747"
    threshold: ClassVar[float | None] = 0.0

    @property
    def log_ratio(self) -> bool:
        return isinstance(self.form, Corrected)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.form, AsPublished):
            object.__setattr__(self, "threshold", 1.0)

    def ratios(self, x: Float64Array, outside: Moments, inside: Moments) -> Float64Array:
        def total(group: Moments) -> Float64Array:
            spread = group.variance + TINY
            z = (x - group.mean)[..., 0] / spread
            return np.asarray((np.exp(-0.5 * z * z) / (np.sqrt(2 * np.pi) * spread)).sum(axis=-1))

        return np.divide(total(inside), total(outside) + TINY)

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        if isinstance(self.form, AsPublished):
            return super().run(target, references, member)
        s = self.log(target)
        lira = LiRA(variance=self.form.variance)
        score = lira.run({"phi": s}, {"phi": self.log(references)}, member)
        return np.multiply(score, s.shape[-1])

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        if isinstance(self.form, AsPublished):
            return super().run_all(signals, member, use)
        s = self.log(signals)
        score = LiRA(variance=self.form.variance).run_all({"phi": s}, member, use)
        return np.multiply(score, s.shape[-1])
