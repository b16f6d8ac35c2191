"""CWRF: rewind and freeze the few weights that reveal members, then fine-tune the rest."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from seepage.defenses.accountant import withdraw
from seepage.defenses.base import Context, Defense, Fit, Undefended, check_number
from seepage.defenses.composed import Around
from seepage.defenses.losses import RelaxLoss
from seepage.defenses.networks import Samples, cross_entropy, snapshot
from seepage.defenses.regional import check_base
from seepage.errors import InputError

__all__ = ["CWRF", "FrozenWeights", "top_fraction", "vulnerability"]


def vulnerability(
    model: nn.Module,
    initial: nn.Module,
    members: Samples,
    reference: Samples,
    *,
    weight: float,
    steps: int,
    rate: float,
    batch: int,
    generator: torch.Generator,
) -> dict[str, torch.Tensor]:
    """Σ over steps of |g·w| for every weight, on a copy of `model` that unlearns.

    Each step descends (1 − λ)·CE on members + λ·KL(f(x_ref; θ) ‖ f(x_ref; θ₀)), λ = `weight`, by
    plain SGD at `rate`. Neither model is changed. Normalisation stays in evaluation mode.
    """
    moving = copy.deepcopy(model).eval()
    still = copy.deepcopy(initial).eval().requires_grad_(False)
    score = {n: torch.zeros_like(p) for n, p in moving.named_parameters()}
    for _ in range(steps):
        x, y = members.draw(batch, generator)
        z, _ = reference.draw(batch, generator)
        log_p = F.log_softmax(moving(z).float(), dim=1)
        with torch.no_grad():
            log_q = F.log_softmax(still(z).float(), dim=1)
        divergence = (log_p.exp() * (log_p - log_q)).sum(1).mean()
        loss = (1 - weight) * cross_entropy(moving(x), y) + weight * divergence
        named = [(n, p) for n, p in moving.named_parameters() if p.requires_grad]
        grads = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
        with torch.no_grad():
            for (name, p), g in zip(named, grads, strict=True):
                if g is not None:
                    score[name] += (g * p).abs()
                    p.sub_(rate * g)
    return score


def top_fraction(score: dict[str, torch.Tensor], fraction: float) -> dict[str, torch.Tensor]:
    """True for the `fraction` of all weights with the highest scores, at least one weight.

    >>> top_fraction({"a": torch.tensor([1.0, 5.0]), "b": torch.tensor([3.0])}, 0.34)
    {'a': tensor([False,  True]), 'b': tensor([False])}
    """
    flat = torch.cat([s.flatten() for s in score.values()])
    count = max(1, int(fraction * len(flat)))
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    chosen[flat.topk(count).indices] = True
    sizes = [s.numel() for s in score.values()]
    parts = torch.split_with_sizes(chosen, sizes)
    return {k: part.view_as(s) for (k, s), part in zip(score.items(), parts, strict=True)}


@dataclass(frozen=True, eq=False)
class FrozenWeights(Around):
    """`base`, with the weights where `mask` is True held at their values, bit for bit.

    mask: parameter name -> bool tensor of its shape. Values are restored after each optimiser
    step, so decay and momentum do not move them either.
    """

    name: ClassVar[str] = "frozen-weights"
    inner: ClassVar[bool] = True
    source: ClassVar[str] = "arXiv 2603.13186"
    reconstruction: ClassVar[bool] = True

    mask: dict[str, torch.Tensor]

    def compatible(self, context: Context) -> None:
        self.base.check(context)

    def start(self, context: Context) -> Any:
        held = {n: p.detach().clone() for n, p in context.model.named_parameters()}
        return {"held": held, "base": self.base.start(context)}

    def parameters(self, context: Context) -> None:
        super().parameters(context)
        self._hold(context)

    def epoch_end(self, context: Context) -> None:
        super().epoch_end(context)
        self._hold(context)

    def finish(self, context: Context) -> None:
        super().finish(context)
        withdraw(context.facts, "the training before the fine-tuning was not private")

    def _hold(self, context: Context) -> None:
        with torch.no_grad():
            for name, p in context.model.named_parameters():
                if name in self.mask:
                    p.copy_(torch.where(self.mask[name], context.state["held"][name], p))


@dataclass(frozen=True)
class CWRF(Defense):
    """Critical weights: train plainly, find the weights that carry the risk, rewind and freeze.

    1. Plain training. 2. `vulnerability` of every weight over `steps` unlearning steps (λ =
    `weight`, SGD at `rate`). 3. The top `fraction` is set back to initialisation and frozen.
    4. The rest is fine-tuned with `base`, the learning-rate schedule restarting; it gets `share`
    of the plain phase's epochs, within the recipe's total. Needs a reference set.
    A reconstruction: known from two reading notes; weighting, step counts and batch size of the
    scoring are our choice. Source: arXiv 2603.13186.
    """

    name: ClassVar[str] = "cwrf"
    title: ClassVar[str] = "CWRF"
    source: ClassVar[str] = "arXiv 2603.13186"
    reconstruction: ClassVar[bool] = True
    traits: ClassVar[frozenset[str]] = frozenset({"reference"})

    base: Defense = field(default_factory=RelaxLoss)
    fraction: float = 0.03
    weight: float = 0.5
    steps: int = 20
    rate: float = 1e-3
    share: float = 0.3

    def validate(self) -> None:
        check_base(self.base, self.name)
        check_number("fraction", self.fraction, 0, 1, open_low=True)
        check_number("weight", self.weight, 0, 1)
        check_number("steps", self.steps, 1)
        check_number("rate", self.rate, 0, open_low=True)
        check_number("share", self.share, 0, open_low=True)

    def has(self, trait: str) -> bool:
        return trait in self.traits or self.base.has(trait)

    @property
    def poisson(self) -> bool:
        return self.base.poisson

    def train(self, context: Context, fit: Fit) -> nn.Module:
        self.check(dataclasses.replace(context, poisson=self.poisson))
        assert context.reference is not None
        if context.epochs < 2:
            raise InputError(f"epochs: cwrf needs at least 2, got {context.epochs}; train longer")
        second = round(context.epochs * self.share / (1 + self.share))
        second = min(max(second, 1), context.epochs - 1)
        initial = copy.deepcopy(context.model)
        model = fit(Undefended(), model=context.model, epochs=context.epochs - second)
        score = vulnerability(
            model,
            initial,
            context.members,
            context.reference,
            weight=self.weight,
            steps=int(self.steps),
            rate=self.rate,
            batch=context.batch_size,
            generator=context.generator,
        )
        mask = top_fraction(score, self.fraction)
        start = snapshot(initial)
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(torch.where(mask[name], start[name], p))
        context.facts["cwrf_frozen"] = int(sum(int(m.sum()) for m in mask.values()))
        return fit(FrozenWeights(self.base, mask), model=model, epochs=second)
