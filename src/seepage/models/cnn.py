"""Small convolutional network by depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import nn

from seepage.models.base import Network, check_classes, check_count, check_image

__all__ = ["CNN", "cnn"]


@final
class CNN(Network):
    """Blocks of 3×3 convolution, 2×2 max-pool, ReLU; one hidden layer; the head.

    The pool stands before the ReLU: max and ReLU commute, so the function is the same, and the
    ReLU then touches a quarter of the values.
    """

    def __init__(
        self, in_shape: tuple[int, int, int], classes: int, blocks: int, width: int, hidden: int
    ) -> None:
        super().__init__()
        channels, height, side = in_shape
        self.convolutions = nn.ModuleList()
        for i in range(blocks):
            out = width * 2**i
            self.convolutions.append(
                nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.MaxPool2d(2), nn.ReLU())
            )
            channels, height, side = out, height // 2, side // 2
        flat = channels * height * side
        self.hidden = nn.Sequential(nn.Linear(flat, hidden), nn.ReLU()) if hidden else None
        self.head = nn.Linear(hidden or flat, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.convolutions:
            x = block(x)
        x = x.flatten(1)
        return x if self.hidden is None else self.hidden(x)

    def body(self) -> Mapping[str, nn.Module]:
        parts: dict[str, nn.Module] = {
            f"block{i}": block for i, block in enumerate(self.convolutions, start=1)
        }
        if self.hidden is not None:
            parts["hidden"] = self.hidden
        return parts


def cnn(
    in_shape: tuple[int, ...],
    classes: int,
    *,
    blocks: int = 2,
    width: int = 32,
    hidden: int = 128,
) -> CNN:
    """Convolutional network of 1 to 4 blocks, filters doubling from `width`, no normalisation.

    hidden: units of the layer before the head; 0 puts the head on the flattened maps.

    >>> list(cnn((1, 28, 28), 10).blocks())
    ['block1', 'block2', 'hidden', 'head']
    """
    check_count("blocks", blocks, 1, 4)
    image = check_image(in_shape, f"a CNN of {blocks} blocks", side=2**blocks)
    check_count("width", width, 1)
    check_count("hidden", hidden, 0)
    return CNN(image, check_classes(classes), blocks, width, hidden)
