"""RelaxLoss: keep the training loss at a level that test loss can reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from seepage.defenses.base import Context, Defense, check_number

__all__ = ["RelaxLoss", "flattened_targets", "relax_loss"]


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
