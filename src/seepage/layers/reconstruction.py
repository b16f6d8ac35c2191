"""How much of the input a layer retains: the error of the best linear reconstruction."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from seepage.errors import InputError
from seepage.layers.choose import choose_layers
from seepage.layers.hooks import (
    Layer,
    LayerHooks,
    batches,
    check_outputs,
    device_of,
    evaluation_mode,
    merged_network,
    sample_count,
)

__all__ = ["reconstruction_error"]


def reconstruction_error(
    model: nn.Module,
    fit: torch.Tensor,
    judge: torch.Tensor,
    layers: str | Sequence[str] | None = None,
    *,
    ridge: float = 1e-3,
    batch: int = 256,
) -> dict[str, float]:
    """Share of the inputs' variance that a ridge regression on a layer's outputs does not explain.

    fit (N, …): inputs of the attacker, who sees the layer's outputs on them; judge (M, …): inputs
    to be reconstructed from their outputs, of which the attacker knows none. With centred outputs H
    and inputs X of `fit`, and h of one judged sample,

        x̂ = x̄ + h Hᵀ (H Hᵀ + μ I)⁻¹ X,    μ = ridge · tr(H Hᵀ) / N,

    and the error is Σ‖x − x̂‖² / Σ‖x − x̄‖² over `judge`, x̄ the mean of `fit`: 0 where the input
    can be read off linearly, 1 where only its mean is known (above 1 is possible). It needs N × d
    values of one layer at a time, in double precision. A lower bound on what can be reconstructed:
    an attacker with a network of their own may do better. What is known of arXiv 2412.00696 gives
    no definition of "reconstruction error"; this one is a **reconstruction** of ours.

    >>> net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> error = reconstruction_error(net, x[:150], x[150:], ridge=1e-9)
    >>> error["0"] < 1e-4 < error["1"]
    True
    """
    if not ridge > 0:
        raise InputError(f"ridge: expected a share above 0, got {ridge}")
    if sample_count(fit) < 2 or sample_count(judge) < 1 or fit.shape[1:] != judge.shape[1:]:
        raise InputError(
            f"fit, judge: expected inputs of one shape, at least 2 and 1, got {tuple(fit.shape)} "
            f"and {tuple(judge.shape)}"
        )
    model = merged_network(model)
    chosen = choose_layers(model, fit, layers)
    device = device_of(model)
    x = fit.flatten(1).double().to(device)
    mean = x.mean(0)
    truth = judge.flatten(1).double().to(device) - mean
    whole = float(truth.square().sum())
    found = {}
    for layer in chosen:
        h, new = (_outputs(model, layer, part, batch) for part in (fit, judge))
        centre = h.mean(0)
        guess = _ridge(h - centre, x - mean, new - centre, ridge)
        error = float((truth - guess).square().sum())
        found[layer.name] = error / whole if whole > 0 else 0.0
    return found


def _ridge(h: torch.Tensor, x: torch.Tensor, new: torch.Tensor, ridge: float) -> torch.Tensor:
    """Predictions for `new` (M, d) of the regression of x (N, d0) on h (N, d), all centred."""
    mu = ridge * float(h.square().sum()) / len(h)
    narrow = h.shape[1] <= len(h)
    gram = h.T @ h if narrow else h @ h.T
    gram.diagonal().add_(mu if mu > 0 else 1.0)
    # Never the weights of a wide layer: they are d × d0 values.
    left, right = (new, h.T @ x) if narrow else (new @ h.T, x)
    return left @ torch.linalg.solve(gram, right)  # type: ignore[no-any-return]


def _outputs(model: nn.Module, layer: Layer, inputs: torch.Tensor, batch: int) -> torch.Tensor:
    """Flattened outputs of one layer, (N, d), on the model's device."""
    rows: list[torch.Tensor] = []
    size = 0

    def keep(_: int, out: torch.Tensor) -> None:
        check_outputs(layer, out, size, None)
        rows.append(out.reshape(size, -1).to(torch.float64, copy=True))

    with evaluation_mode(model), LayerHooks(model, [layer]) as hooks:
        for part in batches(inputs, batch, device_of(model)):
            size = sample_count(part)
            hooks.run(part, keep)
    return torch.cat(rows)
