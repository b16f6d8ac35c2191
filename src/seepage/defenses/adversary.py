"""Adversarial regularisation: train against an attacker that learns alongside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from seepage.defenses.base import Context, Defense, check_number
from seepage.defenses.networks import cross_entropy, still_statistics

__all__ = ["AdversarialRegularisation", "attacker_network", "inference_gain"]


def attacker_network(inputs: int, generator: torch.Generator, hidden: int = 64) -> nn.Sequential:
    """A small network (B, inputs) -> (B, 1) logits of "member", weights drawn from `generator`."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )


def inference_gain(inside: torch.Tensor, outside: torch.Tensor) -> torch.Tensor:
    """½ E_in log h + ½ E_out log(1 − h), h = sigmoid of the attacker's logits; nats, ≤ 0.

    >>> inference_gain(torch.zeros(1), torch.zeros(1))  # log ½: knows nothing
    tensor(-0.6931)
    """
    return 0.5 * (F.logsigmoid(inside).mean() + F.logsigmoid(-outside).mean())


def _view(logits: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.cat([logits.float().softmax(1), F.one_hot(labels, classes).float()], dim=1)


@dataclass(frozen=True)
class AdversarialRegularisation(Defense):
    """min over the model of CE + λ·max over h of the membership gain, played step by step.

    Each step the attacker h takes `attacker_steps` Adam steps on the batch's members against as
    many reference samples; then the model minimises CE + λ·mean log h on its members. h reads the
    posterior and the label. Costs a forward pass of the reference per step. Fails: protects
    against attackers like h on posteriors; calibrated attacks (LiRA) still find members.
    Differs from published ports: hidden layers of h are trained and posteriors are not sorted.
    Source: Nasr, Shokri & Houmansadr, CCS 2018, arXiv 1807.05852.
    """

    name: ClassVar[str] = "adversarial"
    title: ClassVar[str] = "Adversarial regularisation"
    source: ClassVar[str] = "arXiv 1807.05852"
    traits: ClassVar[frozenset[str]] = frozenset({"reference", "batchwise"})

    strength: float = 1.0
    attacker_steps: int = 1
    attacker_rate: float = 1e-3

    def validate(self) -> None:
        check_number("strength", self.strength, 0)
        check_number("attacker_steps", self.attacker_steps, 1)
        check_number("attacker_rate", self.attacker_rate, 0, open_low=True)

    def start(self, context: Context) -> Any:
        h = attacker_network(2 * context.classes, context.generator).to(context.device)
        return h, torch.optim.Adam(h.parameters(), lr=self.attacker_rate)

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        labels: torch.Tensor,
        context: Context,
    ) -> torch.Tensor:
        h, optimizer = context.state
        assert context.reference is not None
        others, other_labels = context.reference.draw(len(labels), context.generator)
        with torch.no_grad(), still_statistics(context.model):
            outside = _view(context.answer(others), other_labels, context.classes)
        inside = _view(logits.detach(), labels, context.classes)
        for _ in range(int(self.attacker_steps)):
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(-inference_gain(h(inside), h(outside)))
            optimizer.step()
        h.requires_grad_(False)
        seen = F.logsigmoid(h(_view(logits, labels, context.classes))).mean()
        h.requires_grad_(True)
        return cross_entropy(logits, targets) + self.strength * seen
