"""Multilayer perceptron."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import nn

from seepage.errors import InputError
from seepage.models.base import Network, check_classes, check_count

__all__ = ["MLP", "mlp"]


@final
class MLP(Network):
    """Linear + ReLU layers on the flattened input, then the head."""

    def __init__(self, inputs: int, classes: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        widths = (inputs, *hidden)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(widths)
        )
        self.head = nn.Linear(widths[-1], classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        for layer in self.layers:
            x = layer(x)
        return x

    def body(self) -> Mapping[str, nn.Module]:
        return {f"layer{i}": layer for i, layer in enumerate(self.layers, start=1)}


def mlp(in_shape: tuple[int, ...], classes: int, *, hidden: Sequence[int] = (256,)) -> MLP:
    """Perceptron with ReLU layers of the widths `hidden`; for tables and flattened images.

    in_shape: shape of one input, any number of axes; `hidden=()` is a linear classifier.

    >>> sum(p.numel() for p in mlp((4,), 3, hidden=(8,)).parameters())
    67
    """
    if not in_shape or min(in_shape) < 1:
        raise InputError(f"in_shape: expected the shape of one input, got {tuple(in_shape)}")
    if not isinstance(hidden, list | tuple):
        raise InputError(f"hidden: expected a list of layer widths, got {hidden!r}")
    widths = tuple(check_count(f"hidden[{i}]", w, 1) for i, w in enumerate(hidden))
    return MLP(math.prod(in_shape), check_classes(classes), widths)
