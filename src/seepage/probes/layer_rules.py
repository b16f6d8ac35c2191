"""Gradients of single samples from what layers read and the slopes of what they answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

__all__ = ["Outer", "Slopes", "Whole", "by_rules", "has_rules"]

# Of unfolded inputs of a convolution that are held at once.
_UNFOLDED = 2**26


def _norms(x: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Euclidean norms over the last axis."""
    found: torch.Tensor = torch.linalg.vector_norm(x, dim=-1, dtype=dtype)
    return found


class Slopes(ABC):
    """Gradients of B samples by one parameter."""

    @abstractmethod
    def whole(self) -> torch.Tensor:
        """(B, *shape of the parameter)."""

    @property
    @abstractmethod
    def several(self) -> bool:
        """Whether the parameter has several dimensions."""

    @abstractmethod
    def squares(self) -> torch.Tensor:
        """‖·‖² of each sample: (B,) float64."""

    @abstractmethod
    def rows(self) -> torch.Tensor:
        """‖·‖ of each sample by each row of the parameter: (B, rows)."""


@dataclass(frozen=True, eq=False, repr=False)
class Whole(Slopes):
    """Every entry is there: values (B, *shape)."""

    values: torch.Tensor

    def whole(self) -> torch.Tensor:
        return self.values

    @property
    def several(self) -> bool:
        return self.values.ndim > 2

    def squares(self) -> torch.Tensor:
        return _norms(self.values.flatten(1), torch.float64) ** 2

    def rows(self) -> torch.Tensor:
        flat = self.values.flatten(2) if self.values.ndim > 2 else self.values[..., None]
        return _norms(flat)


@dataclass(frozen=True, eq=False, repr=False)
class Outer(Slopes):
    """One product of a vector of slopes (B, O) and an input (B, I), whose norms need no product."""

    slope: torch.Tensor
    given: torch.Tensor

    def whole(self) -> torch.Tensor:
        return self.slope[:, :, None] * self.given[:, None, :]

    @property
    def several(self) -> bool:
        return True

    def squares(self) -> torch.Tensor:
        return Whole(self.slope).squares() * Whole(self.given).squares()

    def rows(self) -> torch.Tensor:
        return self.slope.abs() * _norms(self.given)[:, None]


Rule = Callable[[nn.Module, torch.Tensor, torch.Tensor], dict[str, Slopes]]


def _linear(layer: nn.Module, x: torch.Tensor, slope: torch.Tensor) -> dict[str, Slopes]:
    """(B, …, I), (B, …, O) -> weight (B, O, I), bias (B, O)."""
    if x.ndim == 2:
        return {"weight": Outer(slope, x), "bias": Whole(slope)}
    x, slope = x.flatten(1, -2), slope.flatten(1, -2)
    return {"weight": Whole(slope.transpose(1, 2) @ x), "bias": Whole(slope.sum(1))}


def _convolution(layer: nn.Module, x: torch.Tensor, slope: torch.Tensor) -> dict[str, Slopes]:
    """(B, C, H, W), (B, O, H', W') -> weight (B, O, C, h, w), bias (B, O)."""
    conv = cast("nn.Conv2d", layer)
    h, w = conv.kernel_size
    slope = slope.flatten(2)
    each = x.shape[1] * h * w * slope.shape[2] * x.element_size()
    step = max(1, _UNFOLDED // max(each, 1))
    rows = []
    for i in range(0, len(x), step):
        patches = nn.functional.unfold(
            x[i : i + step],
            (h, w),
            dilation=conv.dilation,
            padding=cast("tuple[int, int]", conv.padding),
            stride=conv.stride,
        )
        rows.append(slope[i : i + step] @ patches.transpose(1, 2))
    return {
        "weight": Whole(torch.cat(rows).reshape(len(x), *conv.weight.shape)),
        "bias": Whole(slope.sum(2)),
    }


_RULES: dict[type[nn.Module], Rule] = {nn.Linear: _linear, nn.Conv2d: _convolution}


def has_rules(model: nn.Module) -> bool:
    """Whether every parameter is of a linear layer or a plain convolution, and of one alone.

    >>> has_rules(nn.Sequential(nn.Linear(2, 2), nn.ReLU())), has_rules(nn.LayerNorm(2))
    (True, False)
    """
    owned = 0
    for layer in model.modules():
        own = dict(layer.named_parameters(recurse=False))
        if not own:
            continue
        owned += len(own)
        if type(layer) not in _RULES or not set(own) <= {"weight", "bias"}:
            return False
        if isinstance(layer, nn.Conv2d) and (
            layer.groups != 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str)
        ):
            return False
    return owned == len(list(model.parameters()))


def by_rules(
    model: nn.Module, x: torch.Tensor, losses: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[torch.Tensor, dict[str, Slopes]]:
    """Losses (B,) and the gradient of each by every parameter, from one pass and back.

        ∂ℓ_i/∂W = Σ_positions (∂ℓ_i/∂output) inputᵀ, ∂ℓ_i/∂b = Σ_positions ∂ℓ_i/∂output

    model: of which `has_rules` says yes, and each layer of which is asked once in a pass. x (B, …)
    floating point; losses: logits (B, K) -> (B,), each of its own row alone. Raises ValueError where a
    layer is asked more than once: the caller has a slower way. Source: Goodfellow, arXiv 1510.01799, for linear
    layers; unfolded convolutions follow from it.

    >>> net = nn.Linear(2, 1, bias=False)
    >>> _, g = by_rules(net, torch.tensor([[2.0, 4.0]]), lambda z: 3 * z[:, 0])
    >>> g["weight"].whole().tolist()
    [[[6.0, 12.0]]]
    """
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    layers: Mapping[str, nn.Module] = {
        name: layer for name, layer in model.named_modules() if type(layer) in _RULES
    }

    def note(name: str) -> Callable[..., torch.Tensor]:
        def hook(_: nn.Module, given: tuple[torch.Tensor], out: torch.Tensor) -> torch.Tensor:
            if name in seen:
                raise ValueError(f"{name}: asked more than once in a pass")
            seen[name] = given[0].detach().clone(), out
            # What comes after may change its input in place.
            return out.clone()

        return hook

    with ExitStack() as stack, torch.enable_grad():
        for name, layer in layers.items():
            stack.callback(layer.register_forward_hook(note(name)).remove)
        found = losses(model(x.clone().requires_grad_()))
        slopes = torch.autograd.grad(found.sum(), [out for _, out in seen.values()])
    gradients: dict[str, Slopes] = {}
    for (name, (given, _)), slope in zip(seen.items(), slopes, strict=True):
        rows = _RULES[type(layers[name])](layers[name], given, slope.detach())
        gradients |= {f"{name}.{k}" if name else k: g for k, g in rows.items()}
    # In the order of parameters; a layer that was not asked has no slope.
    return found.detach(), {
        k: gradients[k] if k in gradients else Whole(p.new_zeros(len(x), *p.shape))
        for k, p in model.named_parameters()
    }
