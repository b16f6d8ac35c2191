"""Attacks that query the target alone: its loss, entropy, label, its loss among others'."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks.base import Access, Attack
from seepage.attacks.population import Population, chosen
from seepage.attacks.tails import Empirical, Tail
from seepage.attacks.targets import each_row

__all__ = ["LOSS", "AttackP", "Entropy", "Gap", "ModifiedEntropy"]


@dataclass(frozen=True, eq=False)
class _OneNumber(Attack, ABC):
    """What four share: the score is one signal of the target, view 0, up to its sign."""

    first_view: ClassVar[bool] = True

    @property
    @abstractmethod
    def sign(self) -> int:
        """1 where members have high values, else −1."""

    @property
    def by_sample(self) -> bool:
        return True

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        return self.sign * target[self.requires[0]][:, 0].astype(np.float64)

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        return self.sign * signals[self.requires[0]][..., 0].astype(np.float64)


@final
@dataclass(frozen=True, eq=False)
class LOSS(_OneNumber):
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

    @property
    def sign(self) -> int:
        return -1


@final
@dataclass(frozen=True, eq=False)
class Gap(_OneNumber):
    """score(x) = 1 where the target's answer is right, else 0, of view 0; higher = member.

    "Right means member" is right as often as ½ (1 + accuracy on members − accuracy on others), both
    weighing the same, and so is its AUC: it costs one label and reads the generalisation gap and
    nothing else. An attack that does not beat it has found no more than overfitting. Needs no
    references. Source: Yeom et al., arXiv 1709.01604; the name is that of Choquette-Choo et al.,
    arXiv 2007.14321.

    >>> Gap().score(np.array([1.0, 0.0]), np.zeros((1, 2)), np.zeros((1, 2), bool)).tolist()
    [1.0, 0.0]
    """

    name: ClassVar[str] = "gap"
    title: ClassVar[str] = "Gap (correctness)"
    reference: ClassVar[str] = "Yeom et al., arXiv 1709.01604"
    access: ClassVar[Access] = "label"
    requires: ClassVar[tuple[str, ...]] = ("correct",)
    threshold: ClassVar[float | None] = 0.5

    @property
    def sign(self) -> int:
        return 1


@final
@dataclass(frozen=True, eq=False)
class Entropy(_OneNumber):
    """score(x) = −H(p), H = −Σ p log p of the target's answer in nats, of view 0; higher = member.

    It reads no label, so that a sample that the target is sure and wrong about counts as a member:
    `ModifiedEntropy` mends that where labels are known. It follows from recorded logits; from the
    loss or φ it does not. Needs no references. Source: Salem et al., arXiv 1806.01246; a threshold
    per class in Song and Mittal, arXiv 2003.10595.

    >>> Entropy().score(np.array([0.1, 0.6]), np.zeros((1, 2)), np.zeros((1, 2), bool)).tolist()
    [-0.1, -0.6]
    """

    name: ClassVar[str] = "entropy"
    title: ClassVar[str] = "Entropy"
    reference: ClassVar[str] = "Salem et al., arXiv 1806.01246"
    requires: ClassVar[tuple[str, ...]] = ("entropy",)

    @property
    def sign(self) -> int:
        return -1


@final
@dataclass(frozen=True, eq=False)
class ModifiedEntropy(_OneNumber):
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

    @property
    def sign(self) -> int:
        return -1


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
