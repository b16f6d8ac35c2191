"""Centre-based relaxed learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from seepage.defenses.base import Context, Defense, check_number
from seepage.defenses.losses import flattened_targets
from seepage.defenses.networks import head_of

__all__ = ["CRL", "relaxed_centre_loss", "relaxed_cross_entropy", "shrink"]


def shrink(x: torch.Tensor, t: float) -> torch.Tensor:
    """x/(1 + t‖x‖₂) row by row: bounds norms by 1/t and keeps directions.

    >>> shrink(torch.tensor([[3.0, 4.0]]), 1.0)
    tensor([[0.5000, 0.6667]])
    """
    norm: torch.Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / (1 + t * norm)


def relaxed_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, epoch: int, alpha: float, upper: float
) -> torch.Tensor:
    """Scalar of one batch; `epoch` counts from 1. L is the mean cross-entropy.

    Even epochs |L − α|; odd epochs L if L > α, else CE against the flattened targets.
    """
    ce = F.cross_entropy(logits, labels)
    if epoch % 2 == 0:
        return (ce - alpha).abs()
    if ce > alpha:
        return ce
    soft = flattened_targets(logits, labels, upper)
    return -(soft * F.log_softmax(logits, dim=1)).sum(1).mean()


def relaxed_centre_loss(
    features: torch.Tensor,
    centres: torch.Tensor,
    labels: torch.Tensor,
    confidence: torch.Tensor,
    epoch: int,
    alpha: float,
) -> torch.Tensor:
    """Scalar; features (B, F), centres (K, F), confidence (B,) = p_y clipped; `epoch` from 1.

    d = mean ½‖f − c_y‖². Even epochs |d − α|; odd epochs d if d > α, else
    mean ½[q‖f − c_y‖² + (1 − q)‖f‖²]: pulled to the centre as far as the sample is learnt,
    else to the origin.
    """
    to_centre = (features - centres[labels]).square().sum(1)
    d = 0.5 * to_centre.mean()
    if epoch % 2 == 0:
        return (d - alpha).abs()
    if d > alpha:
        return d
    to_origin = features.square().sum(1)
    return 0.5 * (confidence * to_centre + (1 - confidence) * to_origin).mean()


@dataclass(frozen=True)
class CRL(Defense):
    """Relaxed cross-entropy on norm-scaled logits plus λ times a relaxed centre loss on features.

    alpha, upper, scale: level, largest confidence and norm scale t of the logits; centre_alpha,
    centre_upper, centre_scale: the same for features; strength λ; centre_rate: learning rate of
    the class centres' own SGD (momentum 0.9, decay 5e-4). Fails: levels must be tuned per data set;
    the paper's values were not available, the defaults are ours.
    Source: Fang & Kim, UAI 2024, arXiv 2404.17674; losses and parity as its released code.
    """

    name: ClassVar[str] = "crl"
    title: ClassVar[str] = "CRL"
    source: ClassVar[str] = "arXiv 2404.17674"
    traits: ClassVar[frozenset[str]] = frozenset({"features", "hard_labels", "batchwise"})

    alpha: float = 0.5
    upper: float = 1.0
    scale: float = 0.05
    centre_alpha: float = 0.1
    centre_upper: float = 1.0
    centre_scale: float = 0.05
    strength: float = 0.1
    centre_rate: float = 0.01

    def validate(self) -> None:
        for key in ("alpha", "scale", "centre_alpha", "centre_scale", "strength"):
            check_number(key, getattr(self, key), 0)
        for key in ("upper", "centre_upper"):
            check_number(key, getattr(self, key), 0, 1)
        check_number("centre_rate", self.centre_rate, 0, open_low=True)

    def start(self, context: Context) -> Any:
        width = head_of(context.model).in_features
        centres = torch.randn(context.classes, width, generator=context.generator)
        centres = centres.to(context.device).requires_grad_()
        return centres, torch.optim.SGD(
            [centres], lr=self.centre_rate, momentum=0.9, weight_decay=5e-4
        )

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        labels: torch.Tensor,
        context: Context,
    ) -> torch.Tensor:
        centres, _ = context.state
        assert context.features is not None
        epoch = context.epoch + 1
        z = shrink(logits.float(), self.scale)
        p = z.softmax(1).gather(1, labels[:, None])[:, 0].clamp(max=self.centre_upper)
        return relaxed_cross_entropy(
            z, labels, epoch, self.alpha, self.upper
        ) + self.strength * relaxed_centre_loss(
            shrink(context.features.float(), self.centre_scale),
            shrink(centres, self.centre_scale),
            labels,
            p.detach(),
            epoch,
            self.centre_alpha,
        )

    def parameters(self, context: Context) -> None:
        centres, optimizer = context.state
        if centres.grad is not None:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
