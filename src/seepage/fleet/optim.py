"""Optimisers by recipe, and the step of sharpness-aware minimisation.

They are torch's own. It guards some of their methods against its compiler, and the first call of
one of those imports that compiler, which takes longer than training a small network: here the same
methods are called without the guard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from seepage.config.recipe import Recipe

__all__ = ["make", "sam_step"]


def _unguarded(method: Any) -> Any:
    """What a decorator of torch's was put around; the method itself where none was."""
    return getattr(method, "__wrapped__", method)


def _plain_step(kind: type[torch.optim.Optimizer]) -> Callable[..., Any]:
    step = _unguarded(kind.step)

    # As under the guard of an optimiser that nothing is differentiated through.
    @torch.no_grad()
    def plain_step(self: torch.optim.Optimizer, closure: None = None) -> None:
        step(self, closure)

    return plain_step


class _Unguarded(torch.optim.Optimizer):
    """torch's `Optimizer` whose methods do not ask its compiler to keep out."""

    add_param_group = _unguarded(torch.optim.Optimizer.add_param_group)
    zero_grad = _unguarded(torch.optim.Optimizer.zero_grad)
    state_dict = _unguarded(torch.optim.Optimizer.state_dict)
    load_state_dict = _unguarded(torch.optim.Optimizer.load_state_dict)


class _SGD(_Unguarded, torch.optim.SGD):
    step = _plain_step(torch.optim.SGD)


class _Adam(_Unguarded, torch.optim.Adam):
    step = _plain_step(torch.optim.Adam)


class _AdamW(_Unguarded, torch.optim.AdamW):
    step = _plain_step(torch.optim.AdamW)


def make(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimiser over the parameters that train."""
    params = [p for p in model.parameters() if p.requires_grad]
    if recipe.optimizer in ("sgd", "sam"):
        return _SGD(
            params,
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
    kind = _Adam if recipe.optimizer == "adam" else _AdamW
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
