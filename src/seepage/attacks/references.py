"""Attacks that compare a loss with the losses of models that did not see the sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np

from seepage.array_types import BoolArray, FloatArray
from seepage.attacks.base import Attack
from seepage.attacks.kernels.densities import COMMON, ONE_SIDED, OWN, normal_all
from seepage.attacks.kernels.samplewise import empirical_all
from seepage.attacks.tails import Empirical, Tail
from seepage.attacks.targets import dropped, kernel_ready
from seepage.native.library import level

__all__ = ["AttackR", "Calibrated"]


@final
@dataclass(frozen=True, eq=False)
class AttackR(Attack):
    """Where the target's loss stands among the OUT references' losses on the same sample.

    score(x) = −log F̂ₓ(ℓ(x)), F̂ₓ the CDF of the OUT references' losses, view 0; 1 − exp(−score) is
    the paper's 1 − F̂, and "score ≥ −log α" has FPR α sample by sample. With n references the
    smallest p-value that is more than an order is 1/(n + 1), unless a tail model is believed.

    tail: Empirical() (interpolated), Gaussian() or Logistic(). IN entries of the references are
    not read. Needs 2 OUT references. Source: Ye et al., arXiv 2111.09679, attack R.

    >>> references = np.array([[1.0], [2.0], [3.0]])
    >>> s = AttackR().score(np.array([1.5]), references, np.zeros((3, 1), bool))
    >>> np.exp(-s).round(3).tolist()
    [0.375]
    """

    tail: Tail = field(default_factory=Empirical)

    name: ClassVar[str] = "attack-r"
    title: ClassVar[str] = "Attack-R"
    reference: ClassVar[str] = "Ye et al., arXiv 2111.09679"
    requires: ClassVar[tuple[str, ...]] = ("loss",)
    first_view: ClassVar[bool] = True
    min_out: ClassVar[int] = 2
    aligns: ClassVar[bool] = True

    @property
    def by_sample(self) -> bool:
        return True

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        loss = target["loss"][:, 0].astype(np.float64)
        others = references["loss"][..., 0].astype(np.float64)
        return -self.tail.log_cdf_rows(loss, others, ~member)

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        if level() == "none":
            return super().run_all(signals, member, use)
        drop = dropped(use)
        loss = kernel_ready(signals["loss"][..., :1])
        member = np.ascontiguousarray(member)
        out = np.empty(member.shape)
        if isinstance(self.tail, Empirical):
            empirical_all(loss, member, drop, self.tail.low, self.tail.high, out)
            for row in out:
                row[:] = -self.tail.log(row)
            return out
        unread = np.zeros((len(drop.sets), 1, 2, 2))
        normal_all(loss, member, drop, OWN, unread, ONE_SIDED, out, ddof=1)
        for row in out:
            row[:] = -self.tail.of_deviate(row)
        return out


@final
@dataclass(frozen=True, eq=False)
class Calibrated(Attack):
    """Difficulty calibration: how much lower the loss is than that of models without the sample.

    score(x) = mean over views of (mean OUT loss − loss), in nats. The cheapest attack that does
    not mistake easy samples for members. IN entries of the references are not read. Needs 1 OUT
    reference. signal: another number of a sample that members have more of, such as "min_k" of a document,
    which then counts as −loss. Source: Watson et al., arXiv 2111.08440.

    >>> Calibrated().score(np.array([0.5]), np.array([[2.0], [1.0]]), np.zeros((2, 1), bool))
    array([1.])
    """

    signal: str = "loss"

    name: ClassVar[str] = "calibrated"
    title: ClassVar[str] = "Difficulty calibration"
    reference: ClassVar[str] = "Watson et al., arXiv 2111.08440"
    requires: ClassVar[tuple[str, ...]] = ("loss",)
    min_out: ClassVar[int] = 1
    aligns: ClassVar[bool] = True

    def __post_init__(self) -> None:
        # What the contract keeps on the class is the instance's own, since the signal is an option.
        object.__setattr__(self, "requires", (self.signal,))

    @property
    def by_sample(self) -> bool:
        return True

    def _loss(self, signals: Mapping[str, FloatArray]) -> FloatArray:
        return signals["loss"] if self.signal == "loss" else -signals[self.signal]

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        others = np.where(member[..., None], 0.0, self._loss(references)).astype(np.float64)
        expected = others.sum(axis=0) / (~member).sum(axis=0)[:, None]
        return np.asarray((expected - self._loss(target)).mean(axis=1))

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        if level() == "none":
            return super().run_all(signals, member, use)
        drop = dropped(use)
        loss = kernel_ready(self._loss(signals))
        out = np.empty(member.shape)
        # The standardised distance above OUT, in units of one nat.
        unit = np.ones((len(drop.sets), loss.shape[2], 2, 2))
        normal_all(loss, np.ascontiguousarray(member), drop, COMMON, unit, ONE_SIDED, out)
        return np.negative(out, out=out)
