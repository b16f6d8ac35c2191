"""Convex-concave losses: cross-entropy plus a concave term that keeps pulling confident samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from seepage.defenses.base import Context, Defense, check_number

__all__ = ["CCEL", "CCQL", "ccel_loss", "ccql_loss"]


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
