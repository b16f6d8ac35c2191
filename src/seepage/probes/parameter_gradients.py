"""What the gradient of a sample's loss by the parameters tells: its norm, layer by layer too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from seepage.attacks.base import Access
from seepage.probes.gradients import GradientProbe

__all__ = ["GradientNorm", "LayerGradients"]


def _squares(gradients: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Squared norms of each parameter's gradients: name -> (B,) float64."""
    return {
        k: torch.linalg.vector_norm(g.flatten(1), dim=1, dtype=torch.float64) ** 2
        for k, g in gradients.items()
    }


@dataclass(frozen=True)
class GradientNorm(GradientProbe):
    """grad_norm = ‖∇_θ ℓ(x, y)‖₂ over all parameters together, in nats per unit of a parameter.

    One global Euclidean norm, not a mean of norms per tensor, as some published code has it.

    >>> (losses, g) = torch.zeros(1), {"w": torch.tensor([[[3.0, 0.0]]]), "b": torch.tensor([[4.0]])}
    >>> GradientNorm().rows(losses, g)["grad_norm"].tolist()
    [5.0]
    """

    name: ClassVar[str] = "gradient norm"
    access: ClassVar[Access] = "weights"

    @property
    def signals(self) -> tuple[str, ...]:
        return ("grad_norm",)

    def rows(
        self, losses: torch.Tensor, gradients: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        squares = torch.stack(list(_squares(gradients).values()))
        return {"grad_norm": squares.sum(0).sqrt()}


@dataclass(frozen=True)
class LayerGradients(GradientProbe):
    """Norms of the gradient by layer, and by row of the last layer: two rows per sample.

    grad_layers (N, L): ‖∇ℓ‖₂ over the parameters of one module, in the order in which modules are
    made. grad_last (N, K): the same over each row of the last parameter with several dimensions,
    the weights of one output, in the order of outputs. Both are the same whatever the order of
    hidden units, which differs between networks trained from other starts; entries are not.

    >>> g = {"a.w": torch.ones(1, 1, 4), "b.w": torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])}
    >>> [v.tolist() for v in LayerGradients().rows(torch.zeros(1), g).values()]
    [[[2.0, 2.2360...]], [[1.0, 2.0]]]
    """

    name: ClassVar[str] = "layer gradients"
    access: ClassVar[Access] = "weights"

    @property
    def signals(self) -> tuple[str, ...]:
        return ("grad_layers", "grad_last")

    def rows(
        self, losses: torch.Tensor, gradients: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        layers: dict[str, torch.Tensor] = {}
        for name, square in _squares(gradients).items():
            layer = name.rpartition(".")[0]
            layers[layer] = layers[layer] + square if layer in layers else square
        wide = [g for g in gradients.values() if g.ndim > 2]
        last = wide[-1] if wide else list(gradients.values())[-1]
        return {
            "grad_layers": torch.stack([s.sqrt() for s in layers.values()], dim=1),
            "grad_last": torch.linalg.vector_norm(
                last.flatten(2) if wide else last[..., None], dim=2
            ),
        }
