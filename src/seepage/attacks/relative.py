"""Attacks on the ratio of the target's probability to what references give: BASE and RMIA."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self, final

import numpy as np
import scipy

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.base import Attack, Source
from seepage.attacks.kernels.elementary import log
from seepage.attacks.kernels.samplewise import (
    ALL,
    HALVES,
    MIXED,
    TEMPERED,
    areas,
    ascending,
    log_ratio_all,
    shares_below,
)
from seepage.attacks.leaving import Matched
from seepage.attacks.population import Population, chosen
from seepage.attacks.targets import Dropped, dropped, each_row, kernel_ready
from seepage.errors import InputError
from seepage.native.library import level
from seepage.plan import judged, partitions

__all__ = ["BASE", "RMIA", "AgainstPopulation", "BASEOffline", "RMIAOffline", "RMIATuned", "Ratio"]


# The a of published code.
_USUAL = 0.3


def _log_mean(loss: FloatArray, mask: BoolArray) -> Float64Array:
    """log of the mean of exp(−loss) over the models that `mask` keeps: (R, N, A) -> (N, A).

    −∞ where it keeps none.
    """
    kept = np.where(mask[..., None], -loss.astype(np.float64), -np.inf)
    count = np.maximum(mask.sum(axis=0), 1)
    return np.asarray(scipy.special.logsumexp(kept, axis=0) - np.log(count)[:, None])


class _Ratio(Attack, ABC):
    """What the four share: log p_target(x) − log p(x), p = exp(−loss), mean over views."""

    requires: ClassVar[tuple[str, ...]] = ("loss",)
    mode: ClassVar[int]

    @property
    def weight(self) -> float:
        """The option that the rule of the denominator takes, 0 where it has none."""
        return 0.0

    @abstractmethod
    def log_reference(self, loss: FloatArray, member: BoolArray) -> Float64Array:
        """log p(x) from the references: (R, N, A), (R, N) -> (N, A)."""

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> Float64Array:
        """The ratio's log for one target, (N,)."""
        denominator = self.log_reference(references["loss"], member)
        ratio = np.asarray(-(target["loss"].astype(np.float64) + denominator).mean(axis=1))
        return np.where(self._lacking(member), 0.0, ratio) if self.mode != HALVES else ratio

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> Float64Array:
        """The ratio's log for every target, (R, N)."""
        out = np.empty(member.shape)
        if level() == "none":
            for r, row in enumerate(out):
                target = {"loss": signals["loss"][r]}
                row[:] = _Ratio.run(self, target, {"loss": signals["loss"][use[r]]}, member[use[r]])
            return out
        self.ratio_all(signals["loss"], member, dropped(use), out)
        return out

    def ratio_all(
        self, loss: FloatArray, member: BoolArray, drop: Dropped, out: Float64Array
    ) -> None:
        """The same through the kernels: (R, N, A), (R, N) -> out (R, N)."""
        loss, member = kernel_ready(loss), np.ascontiguousarray(member)
        log_ratio_all(loss, member, drop, self.mode, self.weight, out)


@dataclass(frozen=True, eq=False)
class _Pairwise(_Ratio, ABC):
    """RMIA's comparison of each sample with a population, by sorting."""

    population: Population = None
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if not self.gamma > 0:
            raise InputError(f"gamma: expected a number above 0, got {self.gamma}; 1 is usual")

    def compare(self, ratios: Float64Array) -> None:
        """Ratios (R, N) become the share of the population that each beats."""
        whole = self.population is None
        others = None if whole else chosen(self.population, ratios.shape[1])
        shares_below(ratios, -float(np.log(self.gamma)), others)

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> Float64Array:
        ratios = super().run(target, references, member)
        others = ratios[chosen(self.population, len(ratios))]
        slack = np.log(self.gamma)
        at_or_below = np.searchsorted(np.sort(others), ratios - slack, side="right")
        return np.asarray(at_or_below / len(others))

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> Float64Array:
        ratios = super().run_all(signals, member, use)
        self.compare(ratios)
        return ratios

    def _matched(self, signals: Mapping[str, FloatArray], member: BoolArray) -> Float64Array:
        # Ratios are made with each sample's own references, and compared within the real target.
        keep = judged(member)
        ratios = super().run_all(signals, member, ~np.eye(len(member), dtype=np.bool_))
        known = {k: v[:, keep] for k, v in signals.items()}
        ratios[:, keep] = Matched.of(member[:, keep]).scores(super().run_all, known)
        self.compare(ratios)
        return ratios


@final
@dataclass(frozen=True, eq=False)
class RMIA(_Pairwise):
    """Online RMIA: the share of a population that the sample beats in likelihood ratio.

    score(x) = P_z[ (p_θ(x)/p(x)) / (p_θ(z)/p(z)) ≥ γ ], with p = exp(−loss) and
    p(x) = ½ (mean over IN references + mean over OUT references); several views give the
    geometric mean of their ratios. Higher = more likely a member.

    population: positions of z, best samples that are members of no target: Untrained() where the
    plan leaves some out; None takes the whole pool. The statistic is a function of one ratio per
    sample, so the N × Z matrix is never made. For one target and γ = 1 it is a rank: its order is
    that of `BASE`, up to ties.

    The two kinds of references are averaged each by its *own* count. Dividing a masked sum by an
    assumed count, as public code has done, made the number of IN references a score of its own.
    Needs 1 IN and 1 OUT reference. Source: Zarifzadeh, Liu and Shokri, arXiv 2312.03262 (there
    γ = 2; the released code uses 1, as we do).

    >>> loss = np.array([0.1, 1.0, 2.0])
    >>> references = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    >>> member = np.array([[True, False, True], [False, True, False]])
    >>> RMIA().score(loss, references, member).round(2).tolist()
    [1.0, 0.67, 0.33]
    """

    name: ClassVar[str] = "rmia"
    title: ClassVar[str] = "RMIA"
    reference: ClassVar[str] = "Zarifzadeh et al., arXiv 2312.03262"
    min_in: ClassVar[int] = 1
    min_out: ClassVar[int] = 1
    mode: ClassVar[int] = HALVES

    def log_reference(self, loss: FloatArray, member: BoolArray) -> Float64Array:
        both = np.logaddexp(_log_mean(loss, member), _log_mean(loss, ~member))
        # A sample that is judged by nobody may have references of one kind alone.
        kinds = 1.0 + (member.any(axis=0) & ~member.all(axis=0))
        return np.asarray(both - np.log(kinds)[:, None])


@dataclass(frozen=True, eq=False)
class _Offline(_Pairwise, ABC):
    """What both share: the mean over OUT references, moved towards 1."""

    min_out: ClassVar[int] = 1
    mode: ClassVar[int] = MIXED

    def bound(self, source: Source) -> Self:
        """Itself, where exp(−loss) is a probability."""
        if "residual" in source.signals:
            raise InputError(
                "takes the likelihood under IN to grow towards 1; that of a regression is a density, "
                "which has no such bound"
            )
        return self


@final
@dataclass(frozen=True, eq=False)
class RMIAOffline(_Offline):
    """RMIA without IN references: p(x) = ½ ((1 + a) mean OUT + 1 − a).

    a in [0, 1] stands for how p under IN grows from p under OUT: 1 says equal, 0 says it is 1. The
    paper tunes it on a pair of reference models, as `RMIATuned` does; 0.3 is the value of published
    code. IN entries of the references are not read, by mask: sorting zero-masked values and taking
    the top, as public code does, keeps the *largest* OUT values. Otherwise as `RMIA`. Needs 1 OUT
    reference.

    >>> references = np.array([[1.0, 1.0], [1.0, 1.0]])
    >>> RMIAOffline().score(np.array([0.1, 2.0]), references, np.zeros((2, 2), bool)).tolist()
    [1.0, 0.5]
    """

    a: float = _USUAL

    name: ClassVar[str] = "rmia-offline"
    title: ClassVar[str] = "RMIA offline"
    reference: ClassVar[str] = "Zarifzadeh et al., arXiv 2312.03262"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.a <= 1:
            raise InputError(f"a: expected a number from 0 to 1, got {self.a}; 0.3 is usual")

    @property
    def weight(self) -> float:
        return self.a

    def log_reference(self, loss: FloatArray, member: BoolArray) -> Float64Array:
        return _log_mixed(_log_mean(loss, ~member), self.a)


def _log_mixed(log_mean: Float64Array, a: float) -> Float64Array:
    """log ½((1 + a) p̄ + 1 − a) from log p̄."""
    rest = -np.inf if a == 1 else np.log((1 - a) / 2)
    return np.asarray(np.logaddexp(np.log((1 + a) / 2) + log_mean, rest))


# Samples, spread evenly over the mean loss of references, on which a is chosen.
_SOME = 1000


@final
@dataclass(frozen=True, eq=False)
class RMIATuned(_Offline):
    """RMIA offline whose a is chosen on the references, each the target of the others once.

    For every target, of `grid` the a with the largest AUC on average over its references: each of
    them is scored by those that are neither of its own tuple nor of the target's, on at most 1,000
    samples spread evenly over the references' mean loss. Where runs are in no tuples and references are
    matched sample by sample, a is chosen on all runs but the target. AUCs are those of the ratio, which ranks as
    RMIA does up to ties; of equal ones the smallest a wins. γ is not tuned: under one target every γ
    gives the order of the ratio, and those other than 1 only add ties.

    The target's answers and members are not looked at. Released code tunes a on the run paired with
    the target, whose members are the target's others: that knows whom it judges. Needs references
    with members of their own, 2 IN and 2 OUT; IN entries are read for the tuning alone. Source:
    Zarifzadeh et al., arXiv 2312.03262, who tune on a pair of reference models.

    >>> rng = np.random.default_rng(0)
    >>> member = np.tile(np.eye(2, dtype=bool), (4, 50))
    >>> loss = rng.gamma(1.0, size=member.shape) * np.where(member, 0.5, 1.0)
    >>> scores = RMIATuned().leave_one_out(loss, member)
    >>> bool(scores[member].mean() > 0.55 > scores[~member].mean())
    True
    """

    grid: tuple[float, ...] = tuple(k / 10 for k in range(11))

    name: ClassVar[str] = "rmia-tuned"
    title: ClassVar[str] = "RMIA offline, tuned"
    reference: ClassVar[str] = "Zarifzadeh et al., arXiv 2312.03262"
    min_in: ClassVar[int] = 2
    min_out: ClassVar[int] = 2
    fitted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.grid or not all(0 <= a <= 1 for a in self.grid):
            raise InputError(f"grid: expected numbers from 0 to 1, got {self.grid}")

    def _lacking(self, member: BoolArray) -> BoolArray:
        # IN references are for the tuning, which other samples serve.
        return np.asarray(member.all(axis=0))

    def log_reference(self, loss: FloatArray, member: BoolArray) -> Float64Array:
        a = self.chosen(loss, member)
        return _log_mixed(_log_mean(loss, ~member), a)

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> Float64Array:
        drop, loss = dropped(use), signals["loss"]
        best = np.empty(len(drop.sets))

        def choose(e: int) -> None:
            kept = use[np.flatnonzero(drop.which == e)[0]]
            best[e] = self.chosen(loss, member, np.flatnonzero(kept))

        each_row(choose, len(best))
        out = np.empty(member.shape)
        for a in np.unique(best).tolist():
            fixed = RMIAOffline(self.population, self.gamma, a)
            rows = np.isin(drop.which, np.flatnonzero(best == a))
            out[rows] = fixed.run_all(signals, member, use)[rows]
        return out

    def _matched(self, signals: Mapping[str, FloatArray], member: BoolArray) -> Float64Array:
        # One a for each target, of all other runs; ratios are then those of matched references.
        known = judged(member)
        seen, told = signals["loss"][:, known], member[:, known]
        best = np.empty(len(member))

        def choose(r: int) -> None:
            best[r] = self.chosen(seen, told, np.delete(np.arange(len(member)), r))

        each_row(choose, len(best))
        out = np.empty(member.shape)
        for a in np.unique(best).tolist():
            fixed = RMIAOffline(self.population, self.gamma, a)
            out[best == a] = fixed._matched(signals, member)[best == a]
        return out

    def chosen(self, loss: FloatArray, member: BoolArray, use: Int64Array | None = None) -> float:
        """The a of `grid` that serves these references best: (R, N, A), (R, N).

        use: which rows they are, all by default. Where none of them can be judged, each being IN or
        OUT of all samples, the one next to the published 0.3.
        """
        if len(self.grid) == 1:
            return self.grid[0]
        rows = np.arange(len(loss)) if use is None else use
        total = np.zeros(loss.shape[1:])
        for r in rows:
            total += loss[r]
        order = ascending(total.mean(axis=1))
        if len(order) > _SOME:
            order = order[np.linspace(0, len(order) - 1, _SOME).astype(np.int64)]
        loss, member = loss[np.ix_(rows, order)].astype(np.float64), member[np.ix_(rows, order)]
        tuple_of = partitions(member)
        won, able = np.zeros(len(self.grid)), False
        grid = np.asarray(self.grid)[:, None, None]
        whole_weight = grid.ravel() == 1  # the mean alone, however small
        by_view = np.ascontiguousarray(np.moveaxis(loss, -1, 0))  # samples last: (A, R, N)
        everyone = np.where(member, 0.0, np.exp(-by_view))
        whole, count = everyone.sum(axis=1), (~member).sum(axis=0)
        for k in np.unique(tuple_of):
            own = np.flatnonzero(tuple_of == k)
            # Samples without an OUT reference among the others cannot be judged by them.
            number = count - (~member[own]).sum(axis=0)
            every = bool((number > 0).all())
            at = slice(None) if every else np.flatnonzero(number > 0)
            truth = member[own][:, at]
            told = truth.any(axis=1) & ~truth.all(axis=1)
            if not told.any():
                continue
            able = True
            left = (whole - everyone[:, own].sum(axis=1))[:, at]
            mean = log(np.maximum(left, 1e-300) / number[at])
            # Where next to nothing is left of a sum it is made again.
            lost = (left < 1e-4 * whole[:, at]).any(axis=0)
            if lost.any():
                some, others = np.arange(len(number))[at][lost], tuple_of != k
                mean[:, lost] = _log_mean(loss[others][:, some], ~member[others][:, some]).T
            mixed = log(0.5 * ((1 + grid) * np.exp(mean) + 1 - grid))  # (G, A, N)
            mixed[whole_weight] = mean
            judge = by_view[:, own[told]][..., at]
            ratios = judge + mixed[:, :, None]
            np.negative(ratios, out=ratios)
            if len(judge) > 1:
                ratios = ratios.mean(axis=1)
            many = np.tile(truth[told], (len(self.grid), 1))
            auc = areas(ratios.reshape(many.shape), many)
            won += auc.reshape(len(self.grid), -1).sum(axis=1)
        if not able:
            return min(self.grid, key=lambda a: abs(a - _USUAL))
        return float(self.grid[int(won.round(9).argmax())])


@dataclass(frozen=True)
class Ratio:
    """BASE's score as published: the log of the target's probability over the references' mean."""


@dataclass(frozen=True)
class AgainstPopulation:
    """BASE's score less its mean over a population under the same target: the scale of InfoRMIA.

    E_z log [(p_θ(x)/p(x)) / (p_θ(z)/p(z))] = BASE(x) − mean_z BASE(z) in nats, the population's mean
    a constant of each target: the order under one target is BASE's own, and so, up to ties, RMIA's.
    What changes is the scale *across* targets, one threshold for all of which then means the same
    surprise beyond what is usual under each. A *reconstruction* of InfoRMIA (arXiv 2510.05582):
    derived, with the rule not read.
    """


Scale = Ratio | AgainstPopulation


@final
@dataclass(frozen=True, eq=False)
class BASE(_Ratio):
    """The Bayes-optimal score of a simple model of training: −ℓ − log mean_r exp(−ℓ_r), in nats.

    The mean runs over all references, IN and OUT alike, as published: membership of the
    references is not needed for it, but equal counts are. On a plan where the counts tell who is
    a member it leaks them; `half_split` does not. Mean over views. The natural rule is score ≥ 0.
    Needs 1 IN and 1 OUT reference. Source: Lassila et al., arXiv 2505.24089.

    scale: Ratio() as published, or AgainstPopulation(), comparable across targets. population: of
    the latter, positions of z, Untrained() or None, the whole pool, as of `RMIA`.

    >>> references = np.array([[1.0], [1.0]])
    >>> BASE().score(np.array([0.5]), references, np.array([[True], [False]])).round(6)
    array([0.5])
    """

    scale: Scale = field(default_factory=Ratio)
    population: Population = None

    name: ClassVar[str] = "base"
    title: ClassVar[str] = "BASE"
    reference: ClassVar[str] = "Lassila et al., arXiv 2505.24089"
    min_in: ClassVar[int] = 1
    min_out: ClassVar[int] = 1
    threshold: ClassVar[float | None] = 0.0
    aligns: ClassVar[bool] = True
    mode: ClassVar[int] = ALL

    def __post_init__(self) -> None:
        if isinstance(self.scale, AgainstPopulation):
            # The population is of the real target, so that targets cannot be realigned.
            object.__setattr__(self, "aligns", False)
            object.__setattr__(self, "title", "BASE, scale of InfoRMIA")

    def log_reference(self, loss: FloatArray, member: BoolArray) -> Float64Array:
        return _log_mean(loss, np.ones_like(member))

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> Float64Array:
        if not isinstance(self.scale, AgainstPopulation):
            return super().run(target, references, member)
        denominator = self.log_reference(references["loss"], member)
        ratio = np.asarray(-(target["loss"].astype(np.float64) + denominator).mean(axis=1))
        return self._scaled(ratio, self._lacking(member))

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> Float64Array:
        out = super().run_all(signals, member, use)
        if isinstance(self.scale, AgainstPopulation):
            lacking = self._lacking(member)
            for row in out:
                row[:] = self._scaled(row, lacking)
        return out

    def _scaled(self, ratio: Float64Array, lacking: BoolArray) -> Float64Array:
        """(N,) of one target; 0 for samples that lack references, in the population or not."""
        others = ratio[chosen(self.population, len(ratio))]
        return np.where(lacking, 0.0, ratio - others.mean())


@final
@dataclass(frozen=True, eq=False)
class BASEOffline(_Ratio):
    """BASE from OUT references only: −ℓ − w · log mean_out exp(−ℓ_r), in nats.

    w = 0.33 is the published weight: OUT models are less sure than the average model, so the term
    counts less. The published code also softens the softmax with temperature 2; a stored loss
    cannot be re-tempered, so ours uses temperature 1. IN entries of the references are not read.
    Mean over views. Needs 1 OUT reference. Source: Lassila et al., arXiv 2505.24089.

    >>> BASEOffline(w=1.0).score(np.array([0.5]), np.array([[2.0]]), np.zeros((1, 1), bool))
    array([1.5])
    """

    w: float = 0.33

    name: ClassVar[str] = "base-offline"
    title: ClassVar[str] = "BASE offline"
    reference: ClassVar[str] = "Lassila et al., arXiv 2505.24089"
    min_out: ClassVar[int] = 1
    aligns: ClassVar[bool] = True
    mode: ClassVar[int] = TEMPERED

    @property
    def weight(self) -> float:
        return self.w

    def log_reference(self, loss: FloatArray, member: BoolArray) -> Float64Array:
        return self.w * _log_mean(loss, ~member)
