"""Per-sample gradient norms of each block's weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from seepage.array_types import Float64Array
from seepage.errors import InputError
from seepage.layers.choose import choose_layers
from seepage.layers.watch import (
    Inputs,
    as_found,
    batches,
    count,
    first_tensor,
    home,
    unwrapped,
)

__all__ = ["block_parameters", "gradient_norms"]


def block_parameters(model: nn.Module, modules: Sequence[str]) -> tuple[str, ...]:
    """Names of the parameters inside the named modules, each once."""
    prefixes = tuple(f"{m}." if m else "" for m in modules)
    return tuple(n for n, _ in model.named_parameters() if n.startswith(prefixes))


def gradient_norms(
    model: nn.Module,
    inputs: Inputs,
    labels: torch.Tensor,
    layers: str | Sequence[str] | None = None,
    *,
    batch: int = 16,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = nn.functional.cross_entropy,
) -> dict[str, Float64Array]:
    """‖∂ loss(x_i, y_i) / ∂ θ_l‖₂ of every sample i and block l: layer -> (N,).

    θ_l are the weights of the block's modules (`Layer.regions`); blocks without weights are left
    out. Evaluation mode, so that normalisation does not mix samples; the model and its own
    gradients are left as found. loss maps logits (1, K) and labels (1,) to a scalar. Memory: batch
    × the number of weights in all blocks. Members' gradients are small where a model has memorised:
    a strong feature for an attack that sees weights.

    >>> net = nn.Linear(2, 2, bias=False)
    >>> out = gradient_norms(net, torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))
    >>> out["(model)"].tolist()
    [0.0, 0.0, 0.0]
    """
    model = unwrapped(model)
    chosen = choose_layers(model, inputs, layers)
    if len(labels) != count(inputs):
        raise InputError(f"labels: expected one per sample ({count(inputs)}), got {len(labels)}")
    owned = {c.name: block_parameters(model, c.regions) for c in chosen}
    owned = {k: v for k, v in owned.items() if v}
    if not owned:
        raise InputError("layers: expected at least one block with weights, got none")
    wanted = {n for names in owned.values() for n in names}
    weights = {n: p.detach() for n, p in model.named_parameters()}
    moving = {n: p for n, p in weights.items() if n in wanted}
    fixed = {n: p for n, p in weights.items() if n not in wanted}
    fixed.update({n: b.detach() for n, b in model.named_buffers()})

    def one(theta: dict[str, torch.Tensor], x: Any, y: torch.Tensor) -> torch.Tensor:
        state = {**fixed, **theta}
        if isinstance(x, torch.Tensor):
            out = functional_call(model, state, (x[None],))
        elif isinstance(x, dict):
            out = functional_call(model, state, (), {k: v[None] for k, v in x.items()})
        else:
            out = functional_call(model, state, tuple(v[None] for v in x))
        logits = first_tensor(out)
        if logits is None:
            raise InputError(f"model: expected logits, got {type(out).__name__}")
        return loss(logits, y[None])

    found: dict[str, list[Float64Array]] = {k: [] for k in owned}
    start = 0
    with as_found(model):
        each = vmap(grad(one), in_dims=(None, 0, 0))
        for part in batches(inputs, batch, home(model)):
            y = labels[start : start + count(part)].to(home(model))
            start += len(y)
            plain = dict(part) if isinstance(part, Mapping) else part
            gradients = each(moving, plain, y)
            squares = {n: g.flatten(1).double().square().sum(1) for n, g in gradients.items()}
            for name, names in owned.items():
                total = torch.stack([squares[n] for n in names]).sum(0)
                found[name].append(total.sqrt().cpu().numpy())
    return {k: np.concatenate(v) for k, v in found.items()}
