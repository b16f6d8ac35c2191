"""LiRA: is the target's signal likelier under models that saw the sample, or that did not?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self, final

import numpy as np
import scipy

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.base import Attack, Source
from seepage.attacks.blocks import Blocks, BlockScorer
from seepage.attacks.kernels.densities import (
    COMMON,
    ONE_SIDED,
    ONLINE,
    OWN,
    SHRUNKEN,
    TWO_SIDED,
    normal_all,
    student_all,
)
from seepage.attacks.targets import Dropped, dropped, kernel_ready
from seepage.attacks.totals import (
    InArrays,
    InBlocks,
    Samples,
    all_totals,
    pooled_variances,
    raw_variances,
)
from seepage.attacks.variance import (
    Centre,
    Group,
    Law,
    Mean,
    Median,
    PerSample,
    Pooled,
    Shrunken,
    StudentT,
    Variance,
    fit_laws,
    prior,
)
from seepage.errors import InputError
from seepage.native.library import level

__all__ = ["BaVarIANormal", "LiRA", "LiRAOfflineOneSided", "LiRAOfflineTwoSided"]


@dataclass(frozen=True, eq=False)
class _Likelihood(Attack, ABC):
    """What the three share: the options, and all targets at once through the kernels."""

    centre: Centre = field(default_factory=Mean)
    variance: Variance = field(default_factory=StudentT)
    signal: str = "phi"

    requires: ClassVar[tuple[str, ...]] = ("phi",)
    aligns: ClassVar[bool] = True
    side: ClassVar[int]
    two_sided: ClassVar[bool] = True

    @property
    def by_sample(self) -> bool:
        return isinstance(self.variance, PerSample)

    def __post_init__(self) -> None:
        # What the contract keeps on the class is the instance's own, since the signal is an option.
        object.__setattr__(self, "requires", (self.signal,))
        if isinstance(self.variance, StudentT | Shrunken) and isinstance(self.centre, Median):
            raise InputError(
                f"centre: expected Mean() with {type(self.variance).__name__}(), whose centre is a "
                "posterior mean, got Median(); choose PerSample() or Pooled() with it"
            )

    def bound(self, source: Source) -> Self:
        """Reading the signed residual of a regression, or a document's log p, which have no φ."""
        lacks = self.signal == "phi" and "phi" not in source.signals
        if lacks and "logp" in source.signals:
            return replace(self, signal="logp")
        if self.two_sided and lacks and "residual" in source.signals:
            return replace(self, signal="residual")
        return self

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        if self.variance == Pooled(released=True) or level() == "none":
            return super().run_all(signals, member, use)
        out = np.empty(member.shape)
        self.score_all(signals[self.signal], member, dropped(use), out)
        return out

    @property
    def in_blocks(self) -> bool:
        pooled = (StudentT, Shrunken, Pooled)
        by_kernels = isinstance(self.variance, pooled) and self.variance != Pooled(released=True)
        return self.by_sample or (by_kernels and level() != "none")

    def by_blocks(self, blocks: Blocks, use: BoolArray) -> BlockScorer:
        if level() == "none":
            return super().by_blocks(blocks, use)
        drop = dropped(use)
        given = self.shared(InBlocks(blocks, self.signal), drop)

        def scorer(
            signals: Mapping[str, FloatArray], member: BoolArray, targets: Int64Array
        ) -> FloatArray:
            out = np.empty(member.shape)
            some, place = drop.of(targets)
            signal = kernel_ready(signals[self.signal])
            self.apply(signal, member, some, tuple(g[place] for g in given), out)
            return out[targets]

        return scorer

    def score_all(
        self, signal: FloatArray, member: BoolArray, drop: Dropped, out: Float64Array
    ) -> None:
        """All targets through the kernels: (R, N, A), (R, N) -> out (R, N)."""
        signal, member = kernel_ready(signal), np.ascontiguousarray(member)
        self.apply(signal, member, drop, self.shared(InArrays(signal, member), drop), out)

    def shared(self, of: Samples, drop: Dropped) -> tuple[Float64Array, ...]:
        """What the scores take from all samples together, by set left out: (E, A, 2, ...) each."""
        models, _, views = of.shape
        match self.variance:
            case StudentT() | Shrunken():
                fit = self.variance if isinstance(self.variance, StudentT) else self.variance.fitted
                totals, shift = all_totals(of, drop.sets, fit.level)
                law = prior(totals, fit)
                law[..., 0] += shift[:, None]
                if not isinstance(self.variance, StudentT):
                    return (np.ascontiguousarray(law[..., 2:]),)
                alpha = law[..., 2, None] + np.arange(models + 1) / 2
                return law, scipy.special.gammaln(alpha + 0.5) - scipy.special.gammaln(alpha)
            case PerSample():
                return (np.zeros((len(drop.sets), views, 2, 2)),)
        given = np.zeros((len(drop.sets), views, 2, 2))
        if isinstance(self.variance, Pooled):
            given[..., 0] = pooled_variances(of, drop.sets)
        else:
            assert isinstance(of, InArrays)
            online = self.side == ONLINE
            given[..., 0] = raw_variances(of.signal, of.member, drop.sets, self.variance, online)
        return (given,)

    def apply(
        self,
        signal: FloatArray,
        member: BoolArray,
        drop: Dropped,
        given: tuple[Float64Array, ...],
        out: Float64Array,
    ) -> None:
        """Scores of the targets of `drop`, given what is `shared`: out (R, N)."""
        if isinstance(self.variance, StudentT):
            law, constant = given
            student_all(signal, member, drop, law, constant, self.side, out)
            return
        rule = {PerSample: OWN, Shrunken: SHRUNKEN}.get(type(self.variance), COMMON)
        ddof = self.variance.ddof if isinstance(self.variance, PerSample) else 0
        median = isinstance(self.centre, Median)
        (own,) = given
        normal_all(signal, member, drop, rule, own, self.side, out, ddof=ddof, median=median)

    @abstractmethod
    def between(self, laws: Sequence[Law], x: Float64Array) -> Float64Array:
        """What φ (N, A) says under the laws of OUT and, online, of IN: (N, A), higher = member."""


@dataclass(frozen=True, eq=False)
class _Online(_Likelihood, ABC):
    """What both share: the log-ratio of the laws of IN and OUT references."""

    min_in: ClassVar[int] = 2
    min_out: ClassVar[int] = 2
    threshold: ClassVar[float | None] = 0.0
    side: ClassVar[int] = ONLINE

    @property
    @abstractmethod
    def log_ratio(self) -> bool:
        """True: the subclasses say so."""

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        x, r = target[self.signal].astype(np.float64), references[self.signal]
        groups = [Group.of(r, ~member), Group.of(r, member)]
        laws = fit_laws(groups, self.centre, self.variance)
        return np.asarray(self.between(laws, x).mean(axis=1))

    def between(self, laws: Sequence[Law], x: Float64Array) -> Float64Array:
        outside, inside = laws
        return np.asarray(inside.log_density(x) - outside.log_density(x))


@final
@dataclass(frozen=True, eq=False)
class LiRA(_Online):
    """Online likelihood-ratio attack; higher = more likely a member.

    score(x) = mean over views of log p(φ | IN) − log p(φ | OUT), in nats, with the two laws
    fitted to φ of the references that trained on x and of those that did not. φ is the
    logit-scaled confidence. The natural rule is score ≥ 0.

    centre: Mean() or Median(). variance: StudentT() (default), Shrunken(), PerSample(), Pooled(),
    Global(). The default is the safe one with few references, and it tends to PerSample(), which is LiRA as
    published, with many. It is not the best under every law: PerSample() can already win from some
    5 references of each kind on, above all at very low FPR, where spreads differ much between
    samples; `tests/attacks/test_variance_ladder.py` has a ladder and docs/attacks.md the table.

    signal: "phi", or "residual" of a regression, taken by itself where a run holds no φ: y − ŷ with
    its sign, which is normal across models as far as predictions are; or "logp" of documents, the mean
    log p of a token, likewise. The paper has classification alone.

    Needs 2 IN and 2 OUT references for every sample: 6 models of `half_split`. Assumes that a
    sample's φ is about normal across models. Raises InputError on shapes, non-finite values and
    too few references.

    Source: Carlini et al., arXiv 2112.03570. Differs from the released script, which returns
    *low* for members; takes the median (`centre=Median()`); cuts every sample to the smallest
    count of references; and, with fixed variance, gives OUT the spread of IN, all views together
    (`Global(released=True)`). Where every sample has equally many references, Median() with
    PerSample() or with Global(released=True) gives the script's scores, the sign turned.

    >>> references = np.array([[5.0], [5.5], [6.0], [1.0], [1.5], [2.0]])
    >>> member = np.array([[True], [True], [True], [False], [False], [False]])
    >>> attack = LiRA(variance=PerSample())
    >>> attack.score(np.array([5.0]), references, member).round(2).tolist()
    [36.0]
    """

    name: ClassVar[str] = "lira"
    title: ClassVar[str] = "LiRA"
    reference: ClassVar[str] = "Carlini et al., arXiv 2112.03570"

    @property
    def log_ratio(self) -> bool:
        return True


@final
@dataclass(frozen=True, eq=False)
class BaVarIANormal(_Online):
    """LiRA with each sample's variance shrunk to the common one, and normal laws; higher = member.

    score(x) = mean over views of log N(φ; x̄_in, σ_in²) − log N(φ; x̄_out, σ_out²), in nats, variances
    of `Shrunken()`. Beside `LiRA()`, whose default is the Student-t form of the same prior, it has
    light tails: with few references a φ far from both laws weighs more than it should. The natural
    rule is score ≥ 0. Options as of `LiRA`; with another variance it is LiRA by another name.

    Needs 2 IN and 2 OUT references. Source: Brännvall, arXiv 2603.11799; a *reconstruction*, see
    `Shrunken`.

    >>> references = np.array([[5.0], [5.5], [6.0], [1.0], [1.5], [2.0]])
    >>> member = np.array([[True], [True], [True], [False], [False], [False]])
    >>> attack = BaVarIANormal(variance=Shrunken(alpha=3.0))
    >>> attack.score(np.array([5.0]), references, member).round(2).tolist()
    [22.09]
    """

    variance: Variance = field(default_factory=Shrunken)

    name: ClassVar[str] = "bavaria-n"
    title: ClassVar[str] = "BaVarIA-n"
    reference: ClassVar[str] = "Brännvall, arXiv 2603.11799"
    reconstruction: ClassVar[bool] = True

    @property
    def log_ratio(self) -> bool:
        return True


@dataclass(frozen=True, eq=False)
class _Offline(_Likelihood, ABC):
    """What both offline forms share: the law of OUT references alone."""

    min_out: ClassVar[int] = 2

    @abstractmethod
    def against(self, law: Law, x: Float64Array) -> Float64Array:
        """What φ (N, A) says under the law of OUT: (N, A), higher = more likely a member."""

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        outside = Group.of(references[self.signal], ~member)
        laws = fit_laws([outside], self.centre, self.variance)
        x = target[self.signal].astype(np.float64)
        return np.asarray(self.between(laws, x).mean(axis=1))

    def between(self, laws: Sequence[Law], x: Float64Array) -> Float64Array:
        return self.against(laws[0], x)


@final
@dataclass(frozen=True, eq=False)
class LiRAOfflineOneSided(_Offline):
    """Offline LiRA as the paper states it: how far φ lies *above* the OUT law.

    score(x) = mean over views of (φ − μ_out) / σ_out. Φ(score) is the paper's P[Z ≤ φ]; the
    deviate is returned, because Φ is 1 in float64 from 8.3 on and would tie the very samples that
    matter. With one view both rank samples alike; with several the mean of deviates and the mean
    of Φ may rank them differently, since one large deviate outweighs several small ones only in
    the former. With StudentT the deviate is in units of the t scale, whose
    degrees of freedom depend on the number of OUT references: compare samples only under plans
    with equal counts, such as `half_split`.

    Of a regression it is not defined: members' residuals are nearer to 0, from either side.

    IN entries of the references are not read. On data whose members also fall *below* (rare) the
    two-sided rule differs much: on one survey's arrays AUC 0.759 here against 0.668 there.
    Needs 2 OUT references. Source: Carlini et al., arXiv 2112.03570, section VI.

    >>> references = np.array([[1.0], [1.5], [2.0]])
    >>> attack = LiRAOfflineOneSided(variance=PerSample(ddof=1))
    >>> attack.score(np.array([3.0]), references, np.zeros((3, 1), bool)).tolist()
    [3.0]
    """

    name: ClassVar[str] = "lira-offline-one-sided"
    title: ClassVar[str] = "LiRA offline, one-sided"
    reference: ClassVar[str] = "Carlini et al., arXiv 2112.03570"
    side: ClassVar[int] = ONE_SIDED
    two_sided: ClassVar[bool] = False

    def against(self, law: Law, x: Float64Array) -> Float64Array:
        return law.deviate(x)


@final
@dataclass(frozen=True, eq=False)
class LiRAOfflineTwoSided(_Offline):
    """Offline LiRA as the released script computes it: how *unlikely* φ is under OUT.

    score(x) = mean over views of −log p(φ | OUT), in nats. Besides surprise it rewards a wide OUT
    law (the log σ in the density), and a φ far below the references counts as much as one far
    above. IN entries of the references are not read. Needs 2 OUT references. Source: the code of
    Carlini et al., arXiv 2112.03570; sign turned so that higher = member.

    >>> references = np.array([[1.0], [1.5], [2.0]])
    >>> attack = LiRAOfflineTwoSided(variance=PerSample())
    >>> high, low = (attack.score(np.array([v]), references, np.zeros((3, 1), bool)) for v in (3, 0))
    >>> bool(np.isclose(high[0], low[0]))
    True
    """

    name: ClassVar[str] = "lira-offline-two-sided"
    title: ClassVar[str] = "LiRA offline, two-sided"
    reference: ClassVar[str] = "Carlini et al., arXiv 2112.03570"
    side: ClassVar[int] = TWO_SIDED

    def against(self, law: Law, x: Float64Array) -> Float64Array:
        return -law.log_density(x)
