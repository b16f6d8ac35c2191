"""Optimisers by recipe, and the step of sharpness-aware minimisation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from seepage.config.recipe import Recipe

__all__ = ["make", "sam_step"]


def make(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimiser over the parameters that train."""
    params = [p for p in model.parameters() if p.requires_grad]
    if recipe.optimizer in ("sgd", "sam"):
        return torch.optim.SGD(
            params,
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(params, lr=recipe.lr, weight_decay=recipe.weight_decay)


def sam_step(optimizer: torch.optim.Optimizer, rho: float, again: Callable[[], object]) -> None:
    """Moves to the worst point in an L2 ball of radius ρ, takes its gradient, moves back.

    ε = ρ g / ‖g‖₂; `again` recomputes the loss at w + ε and backpropagates. Source: Foret et al.
    2021, arXiv 2010.01412, Algorithm 1.
    """
    params = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    with torch.no_grad():
        grads = [p.grad for p in params if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in grads]))
        before = [p.clone() for p in params]
        for p, g in zip(params, grads, strict=True):
            p.add_(g * (rho / (norm + 1e-12)))
    optimizer.zero_grad(set_to_none=True)
    again()
    with torch.no_grad():
        # The stored values, not p − ε: subtracting would not give the same bits back.
        for p, old in zip(params, before, strict=True):
            p.copy_(old)
