"""Defences that change the loss alone: softer confidence, RelaxLoss, convex-concave losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from seepage.defenses.base import Context, Defense, check_number
from seepage.defenses.networks import cross_entropy

__all__ = [
    "CCEL",
    "CCQL",
    "ConfidencePenalty",
    "LabelSmoothing",
    "RelaxLoss",
    "ccel_loss",
    "ccql_loss",
    "entropy",
    "flattened_targets",
    "relax_loss",
    "smooth_labels",
]


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


def flattened_targets(logits: torch.Tensor, labels: torch.Tensor, upper: float) -> torch.Tensor:
    """Each sample's own p_y, at most `upper`, the rest spread evenly: (B, K), (B,) -> (B, K).

    >>> flattened_targets(torch.zeros(1, 3), torch.tensor([0]), 0.2)
    tensor([[0.2000, 0.4000, 0.4000]])
    """
    classes = logits.shape[1]
    p = logits.float().softmax(1).gather(1, labels[:, None]).clamp(max=upper)
    hot = F.one_hot(labels, classes).float()
    return hot * p + (1 - hot) * (1 - p) / (classes - 1)


def relax_loss(
    logits: torch.Tensor, labels: torch.Tensor, epoch: int, alpha: float, upper: float
) -> torch.Tensor:
    """The scalar of one batch in 0-based `epoch`; logits (B, K), labels (B,).

    L is the batch's mean cross-entropy. Even epochs: |L − α|. Odd epochs: L if L > α, else the
    mean of 1[wrong]·CE(flattened targets) − CE: members already right are pushed away from their
    label, members that are wrong keep their confidence with an even rest.

    >>> relax_loss(torch.zeros(1, 2), torch.tensor([0]), 0, 1.0, 1.0)  # |log 2 − 1|
    tensor(0.3069)
    """
    ce = F.cross_entropy(logits.float(), labels, reduction="none")
    mean = ce.mean()
    if epoch % 2 == 0:
        return (mean - alpha).abs()
    if mean > alpha:
        return mean
    wrong = (logits.argmax(1) != labels).float()
    soft = flattened_targets(logits, labels, upper)
    flat = -(soft * F.log_softmax(logits.float(), dim=1)).sum(1)
    return (wrong * flat - ce).mean()


@dataclass(frozen=True)
class RelaxLoss(Defense):
    """Holds the training loss near a target level instead of driving it to zero.

    alpha: the level in nats (choose it near the undefended test loss); upper: largest confidence
    kept by the flattened targets. Which branch acts depends on the parity of the epoch. Fails:
    too small an α defends nothing, too large a one costs accuracy; α must be tuned per data set.
    Source: Chen et al., ICLR 2022, arXiv 2207.05801; the same two branches as its released code,
    gradients through the flattened targets included.
    """

    name: ClassVar[str] = "relaxloss"
    title: ClassVar[str] = "RelaxLoss"
    source: ClassVar[str] = "arXiv 2207.05801"
    traits: ClassVar[frozenset[str]] = frozenset({"hard_labels", "batchwise"})

    alpha: float = 0.5
    upper: float = 1.0

    def validate(self) -> None:
        check_number("alpha", self.alpha, 0)
        check_number("upper", self.upper, 0, 1)

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        labels: torch.Tensor,
        context: Context,
    ) -> torch.Tensor:
        return relax_loss(logits, labels, context.epoch, self.alpha, self.upper)


def _log_p(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return -F.cross_entropy(logits.float(), labels, reduction="none")


def ccel_loss(
    logits: torch.Tensor, labels: torch.Tensor, alpha: float, beta: float
) -> torch.Tensor:
    """β·(−α·log p_y − (1 − α)·exp(p_y)) per sample: (B, K), (B,) -> (B,).

    >>> ccel_loss(torch.zeros(1, 2), torch.tensor([0]), 1.0, 1.0)  # plain cross-entropy
    tensor([0.6931])
    """
    log_p = _log_p(logits, labels)
    return beta * (-alpha * log_p - (1 - alpha) * log_p.exp().exp())


def ccql_loss(
    logits: torch.Tensor, labels: torch.Tensor, alpha: float, beta: float
) -> torch.Tensor:
    """β·(−α·log p_y − (1 − α)·(p_y + p_y²/2)) per sample: (B, K), (B,) -> (B,).

    >>> ccql_loss(torch.zeros(1, 2), torch.tensor([0]), 0.0, 1.0)  # −(½ + ⅛)
    tensor([-0.6250])
    """
    log_p = _log_p(logits, labels)
    p = log_p.exp()
    return beta * (-alpha * log_p - (1 - alpha) * (p + p.square() / 2))


@dataclass(frozen=True)
class _ConvexConcave(Defense):
    source: ClassVar[str] = "arXiv 2402.05453"
    traits: ClassVar[frozenset[str]] = frozenset({"hard_labels"})

    alpha: float = 0.5
    beta: float = 1.0

    def validate(self) -> None:
        check_number("alpha", self.alpha, 0, 1)
        check_number("beta", self.beta, 0, open_low=True)


@dataclass(frozen=True)
class CCEL(_ConvexConcave):
    """Convex-concave loss with an exponential concave term.

    α·CE − (1 − α)·exp(p_y), times β. The concave part raises the variance of members' losses, so
    that members and others overlap more. alpha in [0, 1] is the share of cross-entropy, beta > 0
    scales the whole. Fails: small α trains slowly (bounded gradients on wrong samples). Source:
    Liu et al., ICML 2024, arXiv 2402.05453.
    """

    name: ClassVar[str] = "ccel"
    title: ClassVar[str] = "CCEL"

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        labels: torch.Tensor,
        context: Context,
    ) -> torch.Tensor:
        return ccel_loss(logits, labels, self.alpha, self.beta).mean()


@dataclass(frozen=True)
class CCQL(_ConvexConcave):
    """Convex-concave loss with a quadratic concave term: α·CE − (1 − α)(p_y + p_y²/2), times β.

    As `CCEL` otherwise.
    """

    name: ClassVar[str] = "ccql"
    title: ClassVar[str] = "CCQL"

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        labels: torch.Tensor,
        context: Context,
    ) -> torch.Tensor:
        return ccql_loss(logits, labels, self.alpha, self.beta).mean()
