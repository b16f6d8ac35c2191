"""Attacks on the sequence of checkpoints: whose loss the steps of training went down."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np

from seepage.array_types import BoolArray, FloatArray
from seepage.attacks.base import Access, Attack
from seepage.attacks.lira import LiRA
from seepage.attacks.thresholds import LOSS
from seepage.attacks.variance import StudentT, Variance

__all__ = ["CheckpointSequence", "CheckpointSequenceLR"]


@dataclass(frozen=True, eq=False)
class _Steps(Attack, ABC):
    """A rule for one number per sample, given the sum over steps."""

    reconstruction: ClassVar[bool] = True
    access: ClassVar[Access] = "weights"
    requires: ClassVar[tuple[str, ...]] = ("checkpoint_step",)
    trajectory: ClassVar[bool] = True
    queries: ClassVar[int] = 3
    on_request: ClassVar[bool] = True
    aligns: ClassVar[bool] = True

    @property
    @abstractmethod
    def rule(self) -> Attack:
        """The attack on losses, or on φ."""

    @property
    def by_sample(self) -> bool:
        return self.rule.by_sample

    def _given(self, signals: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """(…, T, A) -> (…, A)."""
        s = signals["checkpoint_step"].sum(axis=-2, dtype=np.float64)
        return {name: s if name == "phi" else -s for name in self.rule.requires}

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        return self.rule.run(self._given(target), self._given(references), member)

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        return self.rule.run_all(self._given(signals), member, use)


@final
@dataclass(frozen=True, eq=False)
class CheckpointSequence(_Steps):
    """score(x) = Σ_t ⟨θ_t − θ_{t+1}, ∇_θ ℓ(x, y; θ_t)⟩ over kept checkpoints, in nats; higher = member.

    How far the steps of training went down the loss of x, to first order. The gradients of members
    are parts of the steps and those of others are not: under full-batch descent the score of a member has an
    additional (η/n) Σ_t ‖∇ℓ(x; θ_t)‖² (`seepage.probes.steps.CheckpointStep`). Samples that are hard at
    first have larger gradients and fall further, members or not, so that by itself it may read
    below ½; `CheckpointSequenceLR` compares with other models. Needs the weights at every checkpoint up to the one scored,
    and no references; who sees the released model alone cannot run it. Between distant checkpoints
    first order says little: keep them close.

    Source: *reconstruction* of SeMI* (arXiv 2602.16596), of which the summary was at hand: that the
    sequence of models tells more than the last one. The statistic is ours.

    >>> steps = np.array([[0.0, 0.5, 0.2], [0.0, 0.1, 0.1]])
    >>> s = CheckpointSequence().score(steps, np.zeros((1, 2, 3)), np.zeros((1, 2), bool))
    >>> s.round(6).tolist()
    [0.7, 0.2]
    """

    name: ClassVar[str] = "checkpoint-sequence"
    title: ClassVar[str] = "Checkpoint sequence"
    reference: ClassVar[str] = "SeMI*, arXiv 2602.16596"
    first_view: ClassVar[bool] = True

    @property
    def rule(self) -> Attack:
        return LOSS()


@final
@dataclass(frozen=True, eq=False)
class CheckpointSequenceLR(_Steps):
    """score(x) = log p(s | IN) − log p(s | OUT), s the score of `CheckpointSequence`; higher = member.

    `LiRA` with s in place of φ; variance: as there. The natural rule is score ≥ 0. Needs 2 IN and 2
    OUT references for every sample, and the weights of each at every checkpoint. Source: as
    `CheckpointSequence`, a *reconstruction*; the likelihood ratio is that of arXiv 2112.03570.

    >>> references = np.array([[5.0], [5.5], [6.0], [1.0], [1.5], [2.0]])[..., None]
    >>> member = np.array([[True], [True], [True], [False], [False], [False]])
    >>> attack = CheckpointSequenceLR()
    >>> bool(attack.score(np.array([[5.0]]), references, member)[0] > 1)
    True
    """

    variance: Variance = field(default_factory=StudentT)

    name: ClassVar[str] = "checkpoint-sequence-lr"
    title: ClassVar[str] = "Checkpoint sequence, likelihood ratio"
    reference: ClassVar[str] = "SeMI*, arXiv 2602.16596; Carlini et al., arXiv 2112.03570"
    min_in: ClassVar[int] = 2
    min_out: ClassVar[int] = 2
    threshold: ClassVar[float | None] = 0.0

    @property
    def rule(self) -> Attack:
        return LiRA(variance=self.variance)

    @property
    def log_ratio(self) -> bool:
        return True
