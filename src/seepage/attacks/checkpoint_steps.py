"""Attacks on the sequence of checkpoints: whose loss the steps of training went down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from seepage.array_types import Float64Array, FloatArray
from seepage.attacks.base import Access
from seepage.attacks.measured import Alone, LikelihoodRatio

__all__ = ["CheckpointSequence", "CheckpointSequenceLR"]


@dataclass(frozen=True, eq=False)
class _Steps:
    """What two attacks read: the sum over steps."""

    reconstruction: ClassVar[bool] = True
    access: ClassVar[Access] = "weights"
    requires: ClassVar[tuple[str, ...]] = ("checkpoint_step",)
    trajectory: ClassVar[bool] = True
    queries: ClassVar[int] = 3

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        """(…, T, A) -> (…, A)."""
        return np.asarray(signals["checkpoint_step"].sum(axis=-2, dtype=np.float64))


@final
@dataclass(frozen=True, eq=False)
class CheckpointSequence(_Steps, Alone):
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


@final
@dataclass(frozen=True, eq=False)
class CheckpointSequenceLR(_Steps, LikelihoodRatio):
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

    name: ClassVar[str] = "checkpoint-sequence-lr"
    title: ClassVar[str] = "Checkpoint sequence, likelihood ratio"
    reference: ClassVar[str] = "SeMI*, arXiv 2602.16596; Carlini et al., arXiv 2112.03570"
