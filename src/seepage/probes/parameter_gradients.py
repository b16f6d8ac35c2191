"""What the gradient of a sample's loss by the parameters tells: its norm, layer by layer too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from seepage.attacks.base import Access
from seepage.probes.gradients import GradientProbe
from seepage.probes.layer_rules import Slopes

__all__ = ["GradientNorm", "LayerGradients"]


@dataclass(frozen=True)
class GradientNorm(GradientProbe):
    """grad_norm = ‖∇_θ ℓ(x, y)‖₂ over all parameters together, in nats per unit of a parameter.

    One global Euclidean norm, not a mean of norms per tensor, as some published code has it.

    >>> from seepage.probes.layer_rules import Whole
    >>> w, b = Whole(torch.tensor([[[3.0, 0.0]]])), Whole(torch.tensor([[4.0]]))
    >>> GradientNorm().rows(torch.zeros(1), {"w": w, "b": b})["grad_norm"].tolist()
    [5.0]
    """

    name: ClassVar[str] = "gradient norm"
    access: ClassVar[Access] = "weights"

    @property
    def signals(self) -> tuple[str, ...]:
        return ("grad_norm",)

    def rows(
        self, losses: torch.Tensor, gradients: Mapping[str, Slopes]
    ) -> dict[str, torch.Tensor]:
        squares = torch.stack([g.squares() for g in gradients.values()])
        return {"grad_norm": squares.sum(0).sqrt()}


@dataclass(frozen=True)
class LayerGradients(GradientProbe):
    """Norms of the gradient by layer, and by row of the last layer: two rows per sample.

    grad_layers (N, L): ‖∇ℓ‖₂ over the parameters of one module, in the order in which modules are
    made. grad_last (N, K): the same over each row of the last parameter with several dimensions,
    the weights of one output, in the order of outputs. Both are the same whatever the order of
    hidden units, which differs between networks trained from other starts; entries are not.

    >>> from seepage.probes.layer_rules import Whole
    >>> a, b = torch.ones(1, 1, 4), torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    >>> found = LayerGradients().rows(torch.zeros(1), {"a.w": Whole(a), "b.w": Whole(b)})
    >>> [v.tolist() for v in found.values()]
    [[[2.0, 2.2360...]], [[1.0, 2.0]]]
    """

    name: ClassVar[str] = "layer gradients"
    access: ClassVar[Access] = "weights"

    @property
    def signals(self) -> tuple[str, ...]:
        return ("grad_layers", "grad_last")

    def rows(
        self, losses: torch.Tensor, gradients: Mapping[str, Slopes]
    ) -> dict[str, torch.Tensor]:
        layers: dict[str, torch.Tensor] = {}
        for name, gradient in gradients.items():
            layer, square = name.rpartition(".")[0], gradient.squares()
            layers[layer] = layers[layer] + square if layer in layers else square
        wide = [g for g in gradients.values() if g.several]
        last = wide[-1] if wide else list(gradients.values())[-1]
        return {
            "grad_layers": torch.stack([s.sqrt() for s in layers.values()], dim=1),
            "grad_last": last.rows(),
        }
