"""Softer confidence: label smoothing and the confidence penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from seepage.defenses.base import Context, Defense, check_number
from seepage.defenses.networks import cross_entropy

__all__ = ["ConfidencePenalty", "LabelSmoothing", "entropy", "smooth_labels"]


def smooth_labels(labels: torch.Tensor, classes: int, smoothing: float) -> torch.Tensor:
    """Targets (1 − s)·one-hot + s/K: (B,) int64 -> (B, K) float32.

    >>> smooth_labels(torch.tensor([1]), 4, 0.2)
    tensor([[0.0500, 0.8500, 0.0500, 0.0500]])
    """
    return F.one_hot(labels, classes).float() * (1 - smoothing) + smoothing / classes


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of softmax(logits): (B, K) -> (B,).

    >>> entropy(torch.zeros(1, 2))
    tensor([0.6931])
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    return -(log_p.exp() * log_p).sum(1)


@dataclass(frozen=True)
class LabelSmoothing(Defense):
    """Trains on (1 − s)·one-hot + s/K.

    smoothing s in [0, 1). Fails: it narrows the gap in loss but can make members *easier* to tell
    by other signals, so measure. Source: Szegedy et al., arXiv 1512.00567.
    """

    name: ClassVar[str] = "label-smoothing"
    title: ClassVar[str] = "Label smoothing"
    source: ClassVar[str] = "arXiv 1512.00567"

    smoothing: float = 0.1

    def validate(self) -> None:
        check_number("smoothing", self.smoothing, 0, 1)

    def targets(self, labels: torch.Tensor, context: Context) -> torch.Tensor:
        return smooth_labels(labels, context.classes, self.smoothing)


@dataclass(frozen=True)
class ConfidencePenalty(Defense):
    """Minimises cross-entropy − β·H(softmax(logits)), entropy in nats.

    strength β ≥ 0. Fails: confident mistakes are softened as well; calibration drifts towards
    underconfidence. Source: Pereyra et al., arXiv 1701.06548.
    """

    name: ClassVar[str] = "confidence-penalty"
    title: ClassVar[str] = "Confidence penalty"
    source: ClassVar[str] = "arXiv 1701.06548"

    strength: float = 0.1

    def validate(self) -> None:
        check_number("strength", self.strength, 0)

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        labels: torch.Tensor,
        context: Context,
    ) -> torch.Tensor:
        return cross_entropy(logits, targets) - self.strength * entropy(logits).mean()
