"""What is left of a model's outputs once they are released: maps from logits to logits.

Every map returns what somebody who sees the released outputs can reconstruct, as logits (their
softmax is what he takes the probabilities to be), so that the rules of `seepage.signals` apply to
them unchanged. Where classes show nothing, or show 0, one rule holds: they share evenly what the
others leave of 1.

>>> import torch
>>> z = torch.tensor([[3.0, 1.0, 0.0, 0.0]])
>>> [round(float(v), 3) for v in TopK(1).logits(z).softmax(1)[0]]
[0.81, 0.063, 0.063, 0.063]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from seepage.errors import InputError
from seepage.signals import SIGNALS, correct

__all__ = ["LabelOnly", "OutputVariant", "Rounded", "Temperature", "TopK", "released_signals"]


class OutputVariant(ABC):
    """How outputs are released: `logits` maps those of the model to those that can be seen.

    order: where several are combined they act in this order, as a service applies them.
    """

    order: ClassVar[int]

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called on the command line and in reports."""

    @abstractmethod
    def logits(self, logits: torch.Tensor) -> torch.Tensor:
        """What can be seen of logits (B, K), as logits (B, K) float64."""


@final
@dataclass(frozen=True)
class Temperature(OutputVariant):
    """softmax(z / T): T above 1 flattens, below 1 sharpens. No label changes.

    With T known, or estimated on the attacker's own references, z is only rescaled; what changes is
    how a loss weighs confident samples. Source: Guo et al., arXiv 1706.04599.
    """

    temperature: float
    order: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise InputError(
                f"temperature: expected a number above 0, got {self.temperature}; 1 changes nothing"
            )

    @property
    def name(self) -> str:
        """As in "temperature-2"."""
        return f"temperature-{self.temperature:g}"

    def logits(self, logits: torch.Tensor) -> torch.Tensor:
        """z / T."""
        return logits.double() / self.temperature


@final
@dataclass(frozen=True)
class TopK(OutputVariant):
    """The k most probable classes with their probabilities; of the others only what is left of 1.

    Each hidden class is taken to have an equal share of that: its logit is the logarithm of the mean
    of their exponentials. That share is the mean of what is hidden, and so never above what is
    shown. Of a label that is not among the k this is all that is known: its φ is that of the share.
    With k of at least K − 1 nothing is hidden. Probabilities are those of unrounded outputs.

    Ties are shown in the order of the classes.
    """

    k: int
    order: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(
                f"k: expected at least one class shown, got {self.k}; label-only shows no probability"
            )

    @property
    def name(self) -> str:
        """As in "top-1"."""
        return f"top-{self.k}"

    def logits(self, logits: torch.Tensor) -> torch.Tensor:
        """Those of the k largest as they are, the rest evened out."""
        z = logits.double()
        # Outputs masked with −∞ have no probability to share.
        possible = z > -torch.inf
        hidden = possible.clone()
        first = torch.sort(z, dim=1, descending=True, stable=True).indices[:, : self.k]
        hidden.scatter_(1, first, False)
        count = hidden.sum(1, keepdim=True)
        left = z.masked_fill(~hidden, -torch.inf).logsumexp(1, keepdim=True)
        share = left - count.clamp(min=1).double().log()
        return torch.where(hidden & (count > 1), share, z)


@final
@dataclass(frozen=True)
class Rounded(OutputVariant):
    """Probabilities rounded to d decimals, half to even.

    A probability that shows 0 is only known to lie below half a step, ½·10⁻ᵈ, and one that shows 1
    as near to 1. Classes that show 0 share evenly what the others leave of 1, at least a quarter of
    a step together and at most half a step each: exact zeros and ones give finite log-ratios, which
    end where the numbers end. Rounded probabilities need not sum to one; the softmax makes them.

    decimals: 0 to 15; a probability in float64 has no more.
    """

    decimals: int
    order: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not 0 <= self.decimals <= 15:
            raise InputError(
                f"decimals: expected 0 to 15, got {self.decimals}; float64 holds no more"
            )

    @property
    def name(self) -> str:
        """As in "rounded-2"."""
        return f"rounded-{self.decimals}"

    def logits(self, logits: torch.Tensor) -> torch.Tensor:
        """Logarithms of what the rounded probabilities tell."""
        z = logits.double()
        p = z.softmax(1).round(decimals=self.decimals)
        step = 10.0**-self.decimals
        possible = z > -torch.inf
        zero = (p == 0) & possible
        count = zero.sum(1, keepdim=True).clamp(min=1)
        left = (1 - p.sum(1, keepdim=True)).clamp(min=step / 4)
        share = (left / count).clamp(max=step / 2).expand_as(p)
        return torch.where(zero, share, p).log()


@final
@dataclass(frozen=True)
class LabelOnly(OutputVariant):
    """The predicted class and nothing else.

    It tells whether the model is right: `correct`, and as `loss` the 0–1 loss, 1 − correct. The LOSS
    attack is then the gap attack (arXiv 1709.01604), and attacks that compare losses with those of
    references compare right and wrong. φ and the modified entropy are not defined. Attacks that
    query many inputs around a sample (arXiv 2007.14321) see more; they are not run.
    """

    order: ClassVar[int] = 3

    @property
    def name(self) -> str:
        """ "label-only"."""
        return "label-only"

    def logits(self, logits: torch.Tensor) -> torch.Tensor:
        """0 for the predicted class, −∞ for the others."""
        z = logits.double()
        top = z.argmax(1, keepdim=True)
        return torch.full_like(z, -torch.inf).scatter(1, top, 0.0)


def released_signals(
    variants: tuple[OutputVariant, ...], logits: torch.Tensor, labels: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Signals that outputs released so give: (B, K), (B,) -> {name: (B,)} float64.

    variants: applied in their order, whatever the order they are passed in. The predicted class is that of the model:
    whether it is right is not read from rounded probabilities, which may tie.

    >>> z, y = torch.tensor([[3.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0])
    >>> {k: v.tolist() for k, v in released_signals((LabelOnly(),), z, y).items()}
    {'correct': [1.0, 0.0], 'loss': [0.0, 1.0]}
    """
    right = correct(logits, labels)
    if any(isinstance(v, LabelOnly) for v in variants):
        return {"correct": right, "loss": 1 - right}
    for variant in sorted(variants, key=lambda v: v.order):
        logits = variant.logits(logits)
    return {
        name: right if name == "correct" else rule(logits, labels) for name, rule in SIGNALS.items()
    }
