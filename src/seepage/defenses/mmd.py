"""Mixup, and matching the outputs of members and non-members class by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from seepage.defenses.base import Context, Defense, check_number
from seepage.defenses.networks import cross_entropy, soften, still_statistics

__all__ = ["MixupMMD", "class_mmd", "mixup", "mmd_squared"]


def mixup(x: torch.Tensor, partner: torch.Tensor, share: float) -> torch.Tensor:
    """share·x + (1 − share)·x[partner]; x (B, ...), partner (B,) positions in the batch.

    >>> mixup(torch.tensor([[0.0], [1.0]]), torch.tensor([1, 0]), 0.75)
    tensor([[0.2500],
            [0.7500]])
    """
    return share * x + (1 - share) * x[partner]


def mmd_squared(a: torch.Tensor, b: torch.Tensor, bandwidth: float) -> torch.Tensor:
    """Squared maximum mean discrepancy of two samples (m, D), (n, D) -> scalar ≥ 0.

    Mean k(a, a') + mean k(b, b') − 2 mean k(a, b) over all pairs, the diagonal included (the
    distance of the two mean embeddings), k(x, y) = exp(−‖x − y‖²/(2·bandwidth²)).

    >>> mmd_squared(torch.zeros(2, 1), torch.zeros(3, 1), 1.0)
    tensor(0.)
    """

    def kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        distance = (x[:, None, :] - y[None, :, :]).square().sum(2)
        return torch.exp(-distance / (2 * bandwidth**2)).mean()

    return kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)


def class_mmd(
    a: torch.Tensor,
    a_labels: torch.Tensor,
    b: torch.Tensor,
    b_labels: torch.Tensor,
    bandwidth: float,
) -> torch.Tensor:
    """Mean over the classes present in both of `mmd_squared` within the class."""
    terms = [
        mmd_squared(a[a_labels == k], b[b_labels == k], bandwidth)
        for k in torch.unique(a_labels)
        if bool((b_labels == k).any())
    ]
    return torch.stack(terms).mean() if terms else a.sum() * 0.0


@dataclass(frozen=True)
class MixupMMD(Defense):
    """Mixup cross-entropy plus λ times the class-wise MMD² of posteriors, members against others.

    mix: parameter a of the Beta(a, a) that draws each batch's share, 0 switches mixup off;
    strength λ; bandwidth of the Gaussian kernel on posteriors. Each member of a batch is matched
    with a random reference sample of its class. Costs three forward passes a step. Fails: the
    reference set becomes training data of its own, and must never be part of an evaluation;
    running statistics of BatchNorm are kept free of it. A reconstruction: no official code was
    found; kernel, bandwidth, and the use of the unmixed batch in the MMD are our choice.
    Source: Li, Li & Ribeiro, CODASPY 2021, arXiv 2002.12062.
    """

    name: ClassVar[str] = "mixup-mmd"
    title: ClassVar[str] = "Mixup with MMD"
    source: ClassVar[str] = "arXiv 2002.12062"
    reconstruction: ClassVar[bool] = True
    traits: ClassVar[frozenset[str]] = frozenset({"reference", "batchwise", "mixes"})

    mix_shape: float = 1.0
    strength: float = 1.0
    bandwidth: float = 0.5

    def validate(self) -> None:
        check_number("mix_shape", self.mix_shape, 0)
        check_number("strength", self.strength, 0)
        check_number("bandwidth", self.bandwidth, 0, open_low=True)

    def start(self, context: Context) -> Any:
        assert context.reference is not None
        labels = context.reference.labels.cpu()
        by_class = [torch.nonzero(labels == k)[:, 0] for k in range(context.classes)]
        return {"by_class": by_class, "unmixed": None}

    def mix(
        self, inputs: torch.Tensor, targets: torch.Tensor, context: Context
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.mix_shape == 0:
            return inputs, targets
        context.state["unmixed"] = inputs
        # Beta(a, a) as a ratio of two Gamma(a) draws, the only form that takes a generator.
        shape = torch.full((2,), float(self.mix_shape), dtype=torch.float64)
        gamma = torch._standard_gamma(shape, generator=context.generator)
        share = float(gamma[0] / gamma.sum())
        partner = torch.randperm(len(inputs), generator=context.generator).to(inputs.device)
        return (
            mixup(inputs, partner, share),
            mixup(soften(targets, context.classes), partner.to(targets.device), share),
        )

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        labels: torch.Tensor,
        context: Context,
    ) -> torch.Tensor:
        fit = cross_entropy(logits, targets)
        if self.strength == 0:
            return fit
        rows = self._matching(labels, context)
        if rows is None:
            return fit
        assert context.reference is not None
        others, other_labels = context.reference.take(rows)
        with still_statistics(context.model):
            q = context.answer(others).softmax(1)
            plain = context.answer(context.state["unmixed"]) if self.mix_shape else logits.float()
        return fit + self.strength * class_mmd(
            plain.softmax(1), labels, q, other_labels, self.bandwidth
        )

    def _matching(self, labels: torch.Tensor, context: Context) -> torch.Tensor | None:
        """A random reference row of the class of each label that has one."""
        chosen = []
        for k in labels.cpu().tolist():
            rows = context.state["by_class"][k]
            if len(rows):
                at = torch.randint(len(rows), (1,), generator=context.generator)
                chosen.append(rows[at])
        return torch.cat(chosen) if chosen else None
