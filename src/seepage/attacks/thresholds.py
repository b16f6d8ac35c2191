"""Attacks that query the target alone: its loss, its modified entropy, its loss among others'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks.base import Attack
from seepage.attacks.population import Population, chosen
from seepage.attacks.tails import Empirical, Tail
from seepage.attacks.targets import each_row

__all__ = ["LOSS", "AttackP", "ModifiedEntropy"]


@final
@dataclass(frozen=True, eq=False)
class LOSS(Attack):
    """score(x) = −loss, in nats, of view 0; higher = more likely a member.

    Needs no references, and no shadow models. It ranks easy samples first, member or not: report
    it as a baseline. Source: Yeom et al., arXiv 1709.01604. (One peer returns it inverted.)

    >>> LOSS().score(np.array([0.1, 2.0]), np.zeros((1, 2)), np.zeros((1, 2), bool)).tolist()
    [-0.1, -2.0]
    """

    name: ClassVar[str] = "loss"
    title: ClassVar[str] = "LOSS"
    reference: ClassVar[str] = "Yeom et al., arXiv 1709.01604"
    requires: ClassVar[tuple[str, ...]] = ("loss",)
    first_view: ClassVar[bool] = True

    @property
    def by_sample(self) -> bool:
        return True

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        return -target["loss"][:, 0].astype(np.float64)

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        return -signals["loss"][..., 0].astype(np.float64)


@final
@dataclass(frozen=True, eq=False)
class ModifiedEntropy(Attack):
    """score(x) = −Mentr of view 0; higher = more likely a member.

    Mentr = −(1 − p_y) log p_y − Σ_{i≠y} p_i log(1 − p_i): 0 when sure and right, large when sure
    and wrong. Needs no references. Source: Song and Mittal, arXiv 2003.10595; they choose a
    threshold per class on a shadow model, we return the score.

    >>> ModifiedEntropy().score(np.array([0.0, 3.0]), np.zeros((1, 2)), np.zeros((1, 2), bool))
    array([-0., -3.])
    """

    name: ClassVar[str] = "mentr"
    title: ClassVar[str] = "Modified entropy"
    reference: ClassVar[str] = "Song and Mittal, arXiv 2003.10595"
    requires: ClassVar[tuple[str, ...]] = ("mentr",)
    first_view: ClassVar[bool] = True

    @property
    def by_sample(self) -> bool:
        return True

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        return -target["mentr"][:, 0].astype(np.float64)

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        return -signals["mentr"][..., 0].astype(np.float64)


@final
@dataclass(frozen=True, eq=False)
class AttackP(Attack):
    """Where the sample's loss stands among a population's losses under the same target.

    score(x) = −log F̂(ℓ(x)), F̂ the CDF of the target's losses on the population, view 0:
    1 − exp(−score) is the paper's 1 − F̂, and "score ≥ −log α" has FPR α if the population is like
    the non-members. For one target it orders samples as LOSS does; what it adds is a threshold
    that transfers between targets.

    population: positions of samples known to the auditor, best non-members of every target, as
    Untrained() chooses them; None takes the whole pool, members among it, which makes the FPR
    conservative. tail: Empirical(),
    Gaussian() or Logistic(). Source: Ye et al., arXiv 2111.09679, attack P.

    >>> loss = np.array([0.1, 1.0, 2.0])
    >>> s = AttackP().score(loss, np.zeros((1, 3)), np.zeros((1, 3), bool))
    >>> np.exp(-s).round(2).tolist()
    [0.25, 0.5, 0.75]
    """

    population: Population = None
    tail: Tail = field(default_factory=Empirical)

    name: ClassVar[str] = "attack-p"
    title: ClassVar[str] = "Attack-P"
    reference: ClassVar[str] = "Ye et al., arXiv 2111.09679"
    requires: ClassVar[tuple[str, ...]] = ("loss",)
    first_view: ClassVar[bool] = True

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        return self._scores(target["loss"])

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        out = np.empty(member.shape)

        def one(r: int) -> None:
            out[r] = self._scores(signals["loss"][r])

        each_row(one, len(member))
        return out

    def _scores(self, losses: FloatArray) -> Float64Array:
        loss = losses[:, 0].astype(np.float64)
        whole = self.population is None
        others = loss if whole else loss[chosen(self.population, len(loss))]
        return -self.tail.log_cdf(loss, others)
